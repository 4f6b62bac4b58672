// What the user has chosen: parameters, model, key, colours. Kept in the browser.

import { apiKey, get, keepsKey, setApiKey } from './api.js';
import { $, button, h } from './dom.js';
import { parameterFields, parametersOf, parse } from './view/parameters.js';

const NAME = 'verbatim-settings';
/** What was kept; nothing where that cannot be read, or was not written by this page. */
function readSaved() {
  try {
    const { texts, ...others } = JSON.parse(localStorage.getItem(NAME)) ?? {};
    return typeof texts === 'object' && texts ? { texts, ...others } : others;
  } catch {
    return {};
  }
}

/** `texts`: what was typed for each parameter. `alternatives`: how many are told of each token. */
const settings = { texts: {}, theme: 'auto', alternatives: 5, model: '', ...readSaved() };
let parameters = new Map();

const save = () => localStorage.setItem(NAME, JSON.stringify(settings));

/** The parameters as a request has them; an error names the first that cannot be sent. */
export function chosen() {
  const values = {};
  for (const [name, text] of Object.entries(settings.texts)) {
    const schema = parameters.get(name);
    if (!text || !schema) continue;
    try {
      values[name] = parse(name, schema, text);
    } catch (error) {
      throw new Error(`${name}: ${error.message}`);
    }
  }
  return { ...values, ...(settings.model ? { model: settings.model } : {}) };
}

/** The seed that was chosen, as it was typed; nothing where it is drawn. */
export const seedSet = () => settings.texts.seed;

/** How many alternatives are told of each token. */
export const alternatives = () => settings.alternatives;

/** Shows the page in the colours that were chosen. */
export function applyTheme(theme = settings.theme) {
  settings.theme = theme;
  if (theme === 'auto') delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  save();
}

/** The next of the three ways to choose colours, and its name. */
export function nextTheme() {
  const order = ['auto', 'light', 'dark'];
  applyTheme(order[(order.indexOf(settings.theme) + 1) % 3]);
  return settings.theme;
}

function onText(name, text) {
  if (text) settings.texts[name] = text;
  else delete settings.texts[name];
  save();
  $('settings-open').classList.toggle('changed', Object.keys(settings.texts).length > 0);
}

/** Fetches the table of parameters and fills the dialog. */
export async function loadSettings(models, onKey) {
  const names = models.map((model) => model.id);
  if (!names.includes(settings.model)) settings.model = '';
  const model = h(
    'select',
    {
      id: 'model',
      onchange: () => {
        settings.model = model.value;
        save();
      },
    },
    h('option', { value: '' }, 'the one that is served'),
    names.map((name) => h('option', { value: name }, name)),
  );
  model.value = settings.model;
  const count = h('input', {
    id: 'alternatives',
    type: 'number',
    min: 0,
    max: 20,
    value: settings.alternatives,
    onchange: () => {
      settings.alternatives = Math.min(20, Math.max(0, Math.trunc(Number(count.value))));
      save();
    },
  });
  parameters = parametersOf(await get('openapi.json'));
  onText('', '');
  $('fields').replaceChildren(
    h('div', { class: 'field' }, h('label', { for: 'model' }, 'Model'), model),
    ...parameterFields(parameters, settings.texts, onText),
    h(
      'details',
      { class: 'group' },
      h('summary', {}, 'This page'),
      h(
        'div',
        { class: 'field' },
        h('label', { for: 'alternatives' }, 'Alternatives of each token', h('span', { class: 'range' }, '0 to 20')),
        count,
        h('p', { class: 'meaning' }, 'How many of the likeliest tokens the raw view shows in each place.'),
      ),
    ),
    keyField(onKey),
    button('Set all parameters back', () => {
      settings.texts = {};
      save();
      loadSettings(models, onKey);
    }),
  );
}

/** The field of the API key, which `onKey` is told of when it has changed. */
export function keyField(onKey) {
  const key = h('input', { id: 'key', type: 'password', value: apiKey(), autocomplete: 'off' });
  const keep = h('input', { id: 'keep-key', type: 'checkbox', checked: keepsKey() });
  const change = () => {
    setApiKey(key.value.trim(), keep.checked);
    onKey();
  };
  key.addEventListener('change', change);
  keep.addEventListener('change', change);
  return h(
    'div',
    { class: 'field', id: 'key-field' },
    h('label', { for: 'key' }, 'API key'),
    key,
    h('label', { class: 'check' }, keep, 'Keep it in this browser'),
    h('p', { class: 'meaning' }, 'Only where the server asks for one. It is sent to this server and to nobody else.'),
  );
}
