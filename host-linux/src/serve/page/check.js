// Messages that come from files: only what a message has is taken, and only if it is of its kind,
// so that no file can break the page.

const isText = (value) => typeof value === 'string';
const isNumber = (value) => typeof value === 'number' && Number.isFinite(value);
const isList = (value, isItem) => Array.isArray(value) && value.every(isItem);
const isObject = (value) => typeof value === 'object' && value !== null && !Array.isArray(value);
const isCall = (call) => isObject(call) && ['id', 'name', 'arguments'].every((name) => isText(call[name]));
const isFile = (file) => isObject(file) && isText(file.name) && isText(file.text);
const isOther = (other) =>
  isList(other, () => true) && isNumber(other[0]) && isNumber(other[1]) && isList(other[2], isNumber);
const isToken = (token) =>
  isObject(token) &&
  (token.lp === null || isNumber(token.lp)) &&
  isList(token.bytes, isNumber) &&
  isList(token.top, isOther) &&
  isList(token.at, isNumber) &&
  token.at.length === 2;
const isUsage = (usage) => usage === null || (isObject(usage) && isNumber(usage.total_tokens));

function requestOf(request) {
  if (!isObject(request) || !isObject(request.parameters) || !isNumber(request.alternatives)) return null;
  return {
    system: isText(request.system) ? request.system : '',
    parameters: request.parameters,
    alternatives: request.alternatives,
  };
}

function answerOf(answer) {
  const { content, reasoning, calls, ids, tokens, promptIds, forced, fingerprint, finish, usage } = answer;
  const isAnswer =
    isText(content) &&
    isText(reasoning) &&
    isList(calls, isCall) &&
    isList(ids, isNumber) &&
    isList(tokens, isToken) &&
    ids.length === tokens.length &&
    isNumber(forced) &&
    isUsage(usage ?? null) &&
    (promptIds === null || isList(promptIds, isNumber)) &&
    [fingerprint, finish].every((v) => v === null || isText(v));
  if (!isAnswer) throw new Error('An answer of the file is not as this page writes them.');
  const times = { asked: 0, first: 0, last: 0, from: ids.length };
  return {
    content,
    reasoning,
    calls,
    ids,
    tokens,
    promptIds,
    forced,
    fingerprint,
    finish,
    usage: usage ?? null,
    cuts: 0,
    times,
  };
}

/** The message of a file, with nothing but what a message has; an error says what is wrong. */
export function checkedMessage(message) {
  const { id, parent, role, content, files, callId, answer, request, error } = isObject(message) ? message : {};
  const common = {
    id: String(id),
    parent: parent == null ? null : String(parent),
    role,
    created: Number(message?.created) || 0,
  };
  if (role === 'assistant' && isObject(answer)) {
    return { ...common, answer: answerOf(answer), request: requestOf(request), error: isText(error) ? error : null };
  }
  if (role === 'user' && isText(content) && (files === undefined || isList(files, isFile)))
    return { ...common, content, files: files ?? [] };
  if (role === 'tool' && isText(content)) return { ...common, content, callId: String(callId) };
  throw new Error('A message of the file is not as this page writes them.');
}
