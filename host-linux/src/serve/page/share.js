// One answer as a file: all that is needed to have it computed again, anywhere, and to see whether
// it is the same. And such a file as a conversation.

import { bodyOf, state } from './chat.js';
import { hashOf } from './bits.js';
import { checkedMessage } from './check.js';
import { pathTo, titleOf } from './tree.js';
import * as store from './store.js';

const FORMAT = 'verbatim-answer/1';

/** The file of an answer, as text. */
export function receiptOf(message) {
  const { answer, request } = message;
  return JSON.stringify(
    {
      format: FORMAT,
      fingerprint: answer.fingerprint,
      seed: request.parameters.seed,
      sha256: hashOf(answer),
      how:
        'POST request to /v1/chat/completions of a server with this fingerprint; the hash is of each ' +
        'token’s id (u32) and log-probability (f32), little-endian',
      request: bodyOf(message),
      answer: { content: answer.content, reasoning: answer.reasoning, calls: answer.calls, finish: answer.finish },
      prompt_token_ids: answer.promptIds,
      token_ids: answer.ids,
      forced_tokens: answer.forced,
      conversation: {
        system: request.system,
        messages: [...pathTo(state.messages, message.parent), message].map(({ running, wait, ...rest }) => rest),
      },
    },
    null,
    1,
  );
}

/** Whether a file is one of an answer, rather than of conversations. */
export const isReceipt = (text) => text.slice(0, 200).includes(`"${FORMAT}"`);

/** Keeps the conversation of an answer's file under new ids, and tells which it is. */
export async function openReceipt(text) {
  const file = JSON.parse(text);
  const messages = file.conversation?.messages;
  if (file.format !== FORMAT || !Array.isArray(messages) || !messages.length) {
    throw new Error(`The file has no conversation of the format ${FORMAT}.`);
  }
  const id = store.newId();
  let parent = null;
  for (const message of messages.map(checkedMessage)) {
    const own = store.newId();
    await store.saveMessage({ ...message, id: own, conversation: id, parent });
    parent = own;
  }
  const now = Date.now();
  const title = titleOf(messages[0].content ?? 'Shared answer');
  const conversation = {
    id,
    title,
    created: now,
    updated: now,
    system: String(file.conversation.system ?? ''),
    head: parent,
  };
  await store.saveConversation(conversation);
  return conversation;
}
