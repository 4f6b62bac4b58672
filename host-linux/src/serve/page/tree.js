// A conversation as a tree: every edit and every answer that was asked for again is a branch, and
// nothing is lost. The path from the root to `head` is what is shown and sent.

/** The messages from the first one to the one with this id. */
export function pathTo(messages, head) {
  const path = [];
  for (let id = head; id && messages.has(id) && path.length <= messages.size; id = path[0].parent) {
    path.unshift(messages.get(id));
  }
  return path;
}

/** Messages that stand in the same place, oldest first, the given one among them. */
export function siblings(messages, message) {
  return [...messages.values()]
    .filter((other) => other.parent === message.parent)
    .sort((a, b) => a.created - b.created);
}

/** The newest end below a message. */
export function leafBelow(messages, message) {
  let leaf = message;
  // In a file that is imported, messages may stand in a circle.
  for (let left = messages.size; left > 0; left -= 1) {
    const under = [...messages.values()].filter((other) => other.parent === leaf.id);
    if (!under.length) break;
    leaf = under.reduce((a, b) => (b.created > a.created ? b : a));
  }
  return leaf;
}

/** A file that was attached, as the model reads it. */
function fileText({ name, text }) {
  const fence = '`'.repeat(Math.max(3, ...[...text.matchAll(/`+/g)].map((m) => m[0].length + 1)));
  return `\n\nFile ${name}:\n${fence}\n${text}\n${fence}`;
}

/** A path as the `messages` of a request. */
export function asMessages(system, path) {
  const list = system ? [{ role: 'system', content: system }] : [];
  for (const { role, content, files, answer, callId } of path) {
    if (role === 'user') {
      list.push({ role, content: content + (files ?? []).map(fileText).join('') });
    } else if (role === 'tool') {
      list.push({ role, content, tool_call_id: callId });
    } else {
      const message = { role: 'assistant', content: answer.content };
      if (answer.calls.length) {
        message.tool_calls = answer.calls.map((call) => ({
          id: call.id,
          type: 'function',
          function: { name: call.name, arguments: call.arguments },
        }));
      }
      list.push(message);
    }
  }
  return list;
}

/** A name for a conversation that begins like this. */
export function titleOf(text) {
  const line = text.trim().split('\n')[0] ?? '';
  return line.length > 60 ? `${line.slice(0, 57)}…` : line || 'New conversation';
}
