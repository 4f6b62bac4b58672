// The field that messages are written in, and the text files that go with them.

import { $, button, h, toast } from './dom.js';

/** Bytes of a file that can be attached. */
const FILE_MAX = 1 << 20;

let files = [];

function showFiles() {
  $('files').replaceChildren(
    ...files.map((file) =>
      h(
        'span',
        { class: 'chip' },
        file.name,
        button(
          '✕',
          () => {
            files = files.filter((other) => other !== file);
            showFiles();
          },
          {
            class: 'small',
            'aria-label': `Remove ${file.name}`,
          },
        ),
      ),
    ),
  );
}

/** Attaches files, if they are text of some size that a prompt can have. */
export async function attach(list) {
  for (const file of list) {
    if (file.size > FILE_MAX) {
      toast(`${file.name} has more than 1 MiB.`);
      continue;
    }
    try {
      const text = new TextDecoder('utf-8', { fatal: true }).decode(await file.arrayBuffer());
      if (text.includes('\0')) throw new Error('binary');
      files.push({ name: file.name, text });
    } catch {
      toast(`${file.name} is not a text in UTF-8.`);
    }
  }
  showFiles();
}

/** What was written and attached, which is taken out of the field; null where there is nothing. */
export function take() {
  const content = $('input').value.trim();
  if (!content && !files.length) return null;
  const taken = { content, files };
  $('input').value = '';
  files = [];
  showFiles();
  return taken;
}

/** Wires the field up; `onSend` is called to send, and `onEditLast` to edit what was said last. */
export function wireComposer(onSend, onEditLast) {
  const input = $('input');
  $('composer').addEventListener('submit', (event) => {
    event.preventDefault();
    onSend();
  });
  input.addEventListener('keydown', (event) => {
    if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      onSend();
    }
    if (event.key === 'ArrowUp' && !input.value) {
      event.preventDefault();
      onEditLast();
    }
  });
  input.addEventListener('paste', (event) => {
    if (event.clipboardData.files.length) {
      event.preventDefault();
      attach(event.clipboardData.files);
    }
  });
  $('attach').addEventListener('click', () => $('attach-file').click());
  $('attach-file').addEventListener('change', async () => {
    await attach($('attach-file').files);
    $('attach-file').value = '';
    input.focus();
  });
  document.addEventListener('dragover', (event) => event.preventDefault());
  document.addEventListener('drop', (event) => {
    event.preventDefault();
    attach(event.dataTransfer.files);
  });
}
