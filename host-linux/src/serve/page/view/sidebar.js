// The list of conversations: open, rename, remove, search.

import { $, button, h, toast } from '../dom.js';
import * as store from '../store.js';
import { isBusy, open, remove as removeIt, rename, state } from '../chat.js';

/** The name of the time that a conversation was changed in, as a heading of the list. */
function periodOf(time) {
  const days = Math.floor((new Date().setHours(24, 0, 0, 0) - time) / 86_400_000);
  if (days < 1) return 'Today';
  if (days < 2) return 'Yesterday';
  if (days < 30) return 'Last 30 days';
  return 'Earlier';
}

function renameIn(item, conversation) {
  const input = h('input', { value: conversation.title, 'aria-label': 'Name of the conversation' });
  let isDone = false;
  const end = (title) => {
    if (isDone) return;
    isDone = true;
    rename(conversation, title.trim() || conversation.title);
  };
  input.addEventListener('keydown', (event) => {
    if (event.key === 'Enter') end(input.value);
    if (event.key === 'Escape') {
      event.stopPropagation();
      end(conversation.title);
    }
  });
  input.addEventListener('blur', () => end(input.value));
  item.replaceChildren(input);
  input.select();
}

async function remove(conversation) {
  if (!confirm(`Delete “${conversation.title}” from this browser?`)) return;
  await removeIt(conversation);
  showList();
  toast('The conversation was deleted.');
}

function entry(conversation, onOpen) {
  const isOpen = conversation.id === state.conversation.id;
  const item = h('li', { class: isOpen ? 'open' : null });
  const { title } = conversation;
  item.append(
    button(
      title,
      async () => {
        await open(conversation);
        showList();
        onOpen();
      },
      { class: 'title', 'aria-current': isOpen ? 'page' : null },
    ),
    ...(isBusy(conversation.id) ? [h('span', { class: 'busy', role: 'img', 'aria-label': 'Is being answered' })] : []),
    button('✎', () => renameIn(item, conversation), { class: 'small', 'aria-label': `Rename ${title}` }),
    button('✕', () => remove(conversation), { class: 'small', 'aria-label': `Delete ${title}` }),
  );
  return item;
}

let opened = () => {};
/** Sets what happens once a conversation was opened from the list. */
export function onOpened(handler) {
  opened = handler;
}

let latest = 0;
/** Shows the list, or what of it fits the words in the search field. */
export async function showList() {
  latest += 1;
  const turn = latest;
  const words = $('search').value.trim();
  const found = words ? await store.search(words) : null;
  const all = (await store.conversations()).filter((c) => !found || found.has(c.id));
  if (turn !== latest) return;
  const parts = [];
  let period = null;
  for (const conversation of all) {
    if (periodOf(conversation.updated) !== period) {
      period = periodOf(conversation.updated);
      parts.push(h('li', { class: 'period' }, period));
    }
    parts.push(entry(conversation, opened));
  }
  $('conversations').replaceChildren(
    ...(parts.length
      ? parts
      : [h('li', { class: 'period' }, words ? 'Nothing found.' : 'Conversations are kept in this browser.')]),
  );
}
