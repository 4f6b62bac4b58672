// Puts the page together: what the server is, the parts of the page, and the keys.

import { get } from './api.js';
import { sameBits } from './bits.js';
import * as chat from './chat.js';
import { take, wireComposer } from './composer.js';
import { $, announce, download, toast } from './dom.js';
import { applyTheme, keyField, loadSettings, nextTheme, seedSet } from './settings.js';
import { isReceipt, openReceipt, receiptOf } from './share.js';
import * as store from './store.js';
import { onOpened, showList } from './view/sidebar.js';
import { readOut, showExamples, showMessage, showThread } from './view/thread.js';

const EXAMPLES = [
  'What is the capital of France?',
  'What is 17 + 25?',
  'Write a function that reverses a list.',
  'What is Verbatim?',
];
const server = { name: 'Verbatim', room: null };

const actions = {
  choose: chat.choose,
  edit: (message, text) => chat.say(text.trim(), message.files ?? [], message.parent),
  respond: (parent) => {
    const seed = seedSet();
    if (seed) toast(`The seed is set to ${seed}: without other parameters the answer is the same.`);
    return chat.respond(parent);
  },
  goOn: chat.goOn,
  branch: (message, k, other) => chat.branch(message, k, other).catch((error) => toast(error.message)),
  giveResults: chat.giveResults,
  sameBits: (message, signal) => sameBits(message.answer, chat.bodyOf(message), signal),
  share: (message) =>
    download(`verbatim-${message.answer.fingerprint}-${message.request.parameters.seed}.json`, receiptOf(message)),
};

function show(ended = null) {
  showThread({ actions, name: server.name, room: server.room });
  const isRunning = chat.state.running !== null;
  $('stop').hidden = !isRunning;
  $('send').hidden = isRunning;
  $('system').value = chat.state.conversation.system;
  $('system-box').open ||= chat.state.conversation.system !== '';
  document.title = chat.path().length ? `${chat.state.conversation.title} – Verbatim` : 'Verbatim';
  if (!ended) return;
  readOut(ended);
  const { fingerprint } = ended.answer;
  if (fingerprint && fingerprint !== $('fingerprint').textContent) connect();
}

/** The dialog with the key, where the server wants one. */
function needKey() {
  $('key-wanted').hidden = false;
  if (!$('key')) $('fields').replaceChildren(keyField(connect));
  if (!$('settings').open) $('settings').showModal();
  $('key').focus();
}

/** Asks what the server is. Until it answers, it is asked again now and then. */
async function connect() {
  try {
    const { data } = await get('v1/models');
    const isOther = server.name !== data[0].id || server.room !== data[0].max_model_len;
    Object.assign(server, { name: data[0].id, room: data[0].max_model_len });
    $('model-name').textContent = server.name;
    $('fingerprint').textContent = data[0].system_fingerprint;
    $('key-wanted').hidden = true;
    // What is open in the thread is closed by this.
    if (isOther && !chat.state.running) show();
    await loadSettings(data, connect);
  } catch (error) {
    if (error.status === 401) return needKey();
    toast(error.message);
    setTimeout(connect, 3000);
  }
}

async function send() {
  if (chat.state.running) return;
  const said = take();
  if (said) await chat.say(said.content, said.files);
}

function editLast() {
  const edits = document.querySelectorAll('.message .edit');
  edits[edits.length - 1]?.click();
}

async function importFile(file) {
  try {
    const text = await file.text();
    if (isReceipt(text)) {
      await chat.open(await openReceipt(text));
      toast('The answer was imported. “Same bits?” asks this server for it.');
    } else {
      const count = await store.imported(text);
      toast(count === 1 ? 'One conversation was imported.' : `${count} conversations were imported.`);
    }
  } catch (error) {
    toast(`Nothing was imported: ${error.message}`);
  }
  showList();
}

function showSidebar(isOpen) {
  document.body.classList.toggle('sidebar-open', isOpen);
  $('sidebar-open').setAttribute('aria-expanded', String(isOpen));
}

function wireButtons() {
  const on = (id, handler, event = 'click') => $(id).addEventListener(event, handler);
  on('new', () => {
    chat.startNew();
    showList();
    showSidebar(false);
    $('input').focus();
  });
  on('stop', chat.stop);
  on('sidebar-open', () => showSidebar(!document.body.classList.contains('sidebar-open')));
  on('sidebar-close', () => showSidebar(false));
  on('settings-open', () => $('settings').showModal());
  on('settings-close', () => $('settings').close());
  on('keys-open', () => $('keys').showModal());
  on('keys-close', () => $('keys').close());
  on('theme', () => {
    const theme = nextTheme();
    $('theme').setAttribute('aria-label', `Colours: ${theme}`);
    announce(`Colours: ${theme}`);
    toast(`Colours: ${theme}`);
  });
  on('search', showList, 'input');
  on('system', () => chat.setSystem($('system').value), 'change');
  on('export', async () => download('verbatim-conversations.json', await store.exported()));
  on('import', () => $('import-file').click());
  on(
    'import-file',
    async () => {
      if ($('import-file').files[0]) await importFile($('import-file').files[0]);
      $('import-file').value = '';
    },
    'change',
  );
}

function wireKeys() {
  const isWriting = () => /^(INPUT|TEXTAREA|SELECT)$/.test(document.activeElement.tagName);
  document.addEventListener('keydown', (event) => {
    const ctrl = event.ctrlKey || event.metaKey;
    const key = event.key.toLowerCase();
    let action;
    if (document.querySelector('dialog[open]')) return;
    if (key === 'escape')
      action = () => {
        chat.stop();
        showSidebar(false);
      };
    else if (ctrl && event.shiftKey && key === 'o') action = () => $('new').click();
    else if (ctrl && key === 'k')
      action = () => {
        showSidebar(true);
        $('search').focus();
      };
    else if (ctrl && key === ',') action = () => $('settings').showModal();
    else if (key === '/' && !isWriting()) action = () => $('input').focus();
    else if (key === '?' && !isWriting()) action = () => $('keys').showModal();
    if (!action) return;
    event.preventDefault();
    action();
  });
}

/** The conversation that was open when the page was left, or an empty one. */
async function openLatest() {
  const id = sessionStorage.getItem('verbatim-open');
  const kept = (await store.conversations()).find((conversation) => conversation.id === id);
  try {
    if (kept) return await chat.open(kept);
  } catch (error) {
    toast(`The conversation cannot be read: ${error.message}`);
  }
  chat.startNew();
}

async function begin() {
  applyTheme();
  wireButtons();
  wireKeys();
  wireComposer(send, editLast);
  onOpened(() => showSidebar(false));
  showExamples(EXAMPLES, (text) => chat.say(text, []));
  const listChanged = () => {
    sessionStorage.setItem('verbatim-open', chat.state.conversation.id);
    showList();
  };
  let isTold = false;
  store.setProblem((error) => {
    if (!isTold) toast(`The browser does not keep this conversation: ${error.message}`);
    isTold = true;
  });
  chat.setView({ show, showOne: showMessage, listChanged, needKey });
  await openLatest();
  showList();
  $('input').focus();
  await connect();
}

begin();
