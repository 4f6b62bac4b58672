// The parameters of a request, as the server's own table (/openapi.json) tells them: one field for
// each, with its range, its default and its meaning, and what the user has chosen.

import { h } from '../dom.js';

/** Where each stands; what the table has beside these comes last, and what the page sets, nowhere. */
const GROUPS = {
  Sampling: ['temperature', 'top_p', 'top_k', 'min_p', 'seed'],
  'Length and end': ['max_tokens', 'min_tokens', 'stop', 'stop_token_ids', 'include_stop_str_in_output', 'ignore_eos'],
  Penalties: ['frequency_penalty', 'presence_penalty', 'repetition_penalty'],
  'Form of the answer': ['response_format', 'structured_outputs', 'grammar'],
  Tools: ['tools', 'tool_choice', 'parallel_tool_calls'],
  'Single tokens': ['logit_bias', 'allowed_token_ids', 'bad_words', 'skip_special_tokens'],
  More: [],
};
const SET_BY_PAGE = new Set(
  `messages model stream stream_options resume logprobs top_logprobs n echo
  return_token_ids return_tokens_as_token_ids prompt_logprobs request_id system_fingerprint guided_json
  guided_regex guided_choice guided_grammar json_schema max_completion_tokens add_generation_prompt
  continue_final_message`.split(/\s+/),
);

const EXAMPLES = {
  response_format: 'A JSON schema: {"type": "object", "properties": {"city": {"type": "string"}}}',
  tools: '[{"type": "function", "function": {"name": "…", "parameters": {…}}}]',
  structured_outputs: '{"regex": "[0-9]+"} or {"choice": ["yes", "no"]}',
  stop: 'One string a line',
  bad_words: 'One string a line',
  logit_bias: '{"1234": -100}',
};
const LABELS = { response_format: 'JSON schema' };

const typesOf = (schema) => [schema.type ?? schema.anyOf?.map((s) => s.type) ?? []].flat().filter((t) => t !== 'null');

/** Whether a parameter of the table does something in a conversation. */
function hasEffect(schema) {
  const refused = schema.enum && typesOf(schema).length === 0;
  return !refused && !/^(Accepted without effect|Refused)/.test(schema.description ?? '');
}

/** The range of a number, in words; empty where there is none that anyone reaches. */
function rangeOf(schema) {
  const low = schema.exclusiveMinimum ?? schema.minimum;
  const high = schema.maximum < 2 ** 31 ? schema.maximum : undefined;
  const from = schema.exclusiveMinimum !== undefined ? `above ${low}` : low;
  if (low === undefined) return high === undefined ? '' : `at most ${high}`;
  if (high === undefined) return schema.exclusiveMinimum !== undefined ? from : `at least ${low}`;
  return `${from} to ${high}`;
}

function parseJson(text) {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new Error(`This is not JSON: ${error.message}`);
  }
}

function parseNumber(text, schema, integer) {
  const value = Number(text);
  const { minimum = -Infinity, maximum = Infinity, exclusiveMinimum = -Infinity } = schema;
  if (!Number.isFinite(value)) throw new Error('This is not a number.');
  if (integer && !Number.isSafeInteger(value)) throw new Error('This is not an integer that can be sent.');
  if (value < minimum || value > maximum || value <= exclusiveMinimum) throw new Error(`Expected ${rangeOf(schema)}.`);
  return value;
}

/** The value of what was typed; the error says what is wrong with it. */
export function parse(name, schema, text) {
  const types = typesOf(schema);
  if (name === 'response_format') {
    const value = parseJson(text);
    return value.type === 'json_object' || value.type === 'json_schema'
      ? value
      : { type: 'json_schema', json_schema: { name: 'answer', schema: value } };
  }
  if (types.includes('number')) return parseNumber(text, schema, false);
  if (types.includes('integer')) return parseNumber(text, schema, true);
  if (types.includes('boolean') && types.length === 1) return text === 'true';
  if (types.includes('array') && !text.trimStart().startsWith('[')) {
    const items = schema.items ?? schema.anyOf?.find((s) => s.items)?.items ?? {};
    if (typesOf(items).includes('string')) return text.split('\n').filter(Boolean);
    if (typesOf(items).includes('integer'))
      return text
        .split(/[\s,]+/)
        .filter(Boolean)
        .map(Number);
  }
  if (types.includes('object') || types.includes('array')) {
    return types.includes('string') && /^\w+$/.test(text) ? text : parseJson(text);
  }
  return text;
}

function control(name, schema, text) {
  const types = typesOf(schema);
  const { default: fallback } = schema;
  const shown = typeof fallback === 'string' ? fallback : JSON.stringify(fallback);
  const placeholder = EXAMPLES[name] ?? (shown ? `default: ${shown}` : '');
  const props = {
    id: `p-${name}`,
    name,
    value: text,
    placeholder,
    'aria-describedby': `d-${name}`,
    autocomplete: 'off',
  };
  const options = schema.enum ?? (types.length === 1 && types[0] === 'boolean' ? [true, false] : null);
  if (options && types.length === 1) {
    const select = h(
      'select',
      props,
      h('option', { value: '' }, shown ? `default: ${shown}` : 'default'),
      options.filter((o) => o !== null).map((o) => h('option', { value: String(o) }, String(o))),
    );
    select.value = text;
    return select;
  }
  if (types.includes('number') || types.includes('integer')) {
    const { minimum: min, maximum: max } = schema;
    return h('input', { ...props, type: 'number', min, max, step: types.includes('number') ? 'any' : 1 });
  }
  if (types.includes('string') && types.length === 1 && name !== 'grammar')
    return h('input', { ...props, type: 'text' });
  return h('textarea', { ...props, rows: 2, spellcheck: 'false' });
}

/** A sentence of the table, in which names stand between backticks. */
const withCode = (text) => text.split('`').map((part, i) => (i % 2 ? h('code', {}, part) : part));

/** One parameter: label, field, what it means, and what is wrong with it. */
function field(name, schema, text, onText) {
  const problem = h('p', { class: 'problem', role: 'alert', hidden: true });
  const input = control(name, schema, text);
  const check = () => {
    let message = '';
    try {
      if (input.value) parse(name, schema, input.value);
    } catch (error) {
      message = error.message;
    }
    problem.textContent = message;
    problem.hidden = !message;
    input.setAttribute('aria-invalid', String(message !== ''));
    onText(name, input.value);
  };
  input.addEventListener('change', check);
  if (text) check();
  const range = rangeOf(schema);
  return h(
    'div',
    { class: 'field' },
    h('label', { for: `p-${name}` }, LABELS[name] ?? name, range && h('span', { class: 'range' }, range)),
    input,
    problem,
    h('p', { id: `d-${name}`, class: 'meaning' }, withCode(schema.description ?? '')),
  );
}

/** The schemas of the parameters that a conversation can have, by name, of an OpenAPI document. */
export function parametersOf(openapi) {
  let body = openapi.paths['/v1/chat/completions'].post.requestBody.content['application/json'].schema;
  while (body.$ref)
    body = body.$ref
      .split('/')
      .slice(1)
      .reduce((at, part) => at[part], openapi);
  const known = Object.entries(body.properties).filter(([name, s]) => !SET_BY_PAGE.has(name) && hasEffect(s));
  return new Map(known);
}

/** The groups of fields; `texts` is what was typed, by name, and is told of changes by `onText`. */
export function parameterFields(parameters, texts, onText) {
  const listed = new Set(Object.values(GROUPS).flat());
  const others = [...parameters.keys()].filter((name) => !listed.has(name));
  return Object.entries(GROUPS).map(([title, names], i) => {
    const present = (title === 'More' ? others : names).filter((name) => parameters.has(name));
    const fields = present.map((name) => field(name, parameters.get(name), texts[name] ?? '', onText));
    return h('details', { open: i === 0, class: 'group' }, h('summary', {}, title), fields);
  });
}
