// The panels below the pictures: work saved and done, memory and budgets, the server itself.

import { $, h } from '../../page/dom.js';
import { bytes, count, many, percent, seconds } from '../format.js';
import { show as showBars } from './meters.js';

/** Workers that have a line each; of more, the mean is shown. */
const WORKERS = 12;
const SOURCES = {
  lookup: 'Drafts accepted, lookup',
  model: 'Drafts accepted, model',
  proposed: 'Drafts accepted, clients',
};

/** Shows what an event tells of them. */
export function show(event) {
  showBars($('work'), [prefix(event.prefix), ...drafts(event.drafts), ...workers(event.workers)]);
  showBars($('limits'), [...memory(event.memory), ...budgets(event.budgets)]);
  facts(event);
}

const ratio = (part, all) => (all > 0 ? part / all : null);

function prefix({ queries, hits }) {
  const share = ratio(hits, queries);
  return {
    name: 'Prefix hits',
    share,
    text: share === null ? 'nothing asked' : `${percent(share)} of ${count(queries)}`,
    title: 'Tokens of prompts that were in the prefix cache, since the start',
  };
}

function drafts(sources) {
  return Object.entries(SOURCES).map(([source, name]) => {
    const { verified, accepted } = sources[source];
    const share = ratio(accepted, verified);
    return {
      name,
      share,
      text: share === null ? 'none' : `${percent(share)} of ${count(verified)}`,
      title: 'Draft tokens that the served model drew itself, of those that it verified, since the start',
    };
  });
}

const mean = (values) => values.reduce((total, value) => total + value, 0) / values.length;

function worker({ name, cpu, delayed }) {
  return {
    name: `Busy, ${name}`,
    share: cpu,
    lost: delayed,
    text: cpu === null ? 'unknown' : `${percent(cpu)}${delayed ? `, ${percent(delayed)} delayed` : ''}`,
    title: 'Share of the last second that the thread was on a CPU; delayed: it was ready, but others had the CPU',
  };
}

function workers(all) {
  const known = all.filter(({ cpu }) => cpu !== null);
  if (all.length <= WORKERS || known.length === 0) return all.slice(0, WORKERS).map(worker);
  const cpu = mean(known.map((one) => one.cpu));
  return [worker({ name: `mean of ${all.length} threads`, cpu, delayed: mean(known.map((one) => one.delayed ?? 0)) })];
}

function memory({ weights, engine, kv, resident, available, limit }) {
  const free = available === null || resident === null ? null : resident + available;
  const most = limit ?? free;
  const line = (name, size, title, isLimit = false) => ({
    name,
    share: size === null || most === null ? null : size / most,
    text: size === null ? 'unknown' : isLimit && most !== null ? `${bytes(size)} of ${bytes(most)}` : bytes(size),
    title,
    isLimit,
  });
  const of = limit === null ? 'of what this machine has free beside it' : 'of the limit of its control group';
  return [
    line('Resident', resident, `Memory of the process, ${of}`, true),
    line('Weights', weights, 'The weights, on the same scale'),
    line('KV cache', kv, 'The KV blocks, on the same scale'),
    line('Rest of the engine', engine === null || kv === null ? null : engine - kv, 'On the same scale'),
  ];
}

function budgets(all) {
  return all
    .filter(({ used, refused }) => used !== null || refused > 0)
    .map(({ name, limit, used, refused }) => {
      const unit = /bytes/.test(name) ? bytes : /seconds/.test(name) ? seconds : count;
      const amount = used === null ? `limit ${unit(limit)}` : `${unit(used)} of ${unit(limit)}`;
      return {
        name,
        share: used === null ? null : ratio(used, limit),
        text: refused ? `${amount}, ${count(refused)} refused` : amount,
        title: 'What is in use of this budget, and how often it has refused something',
        isLimit: true,
      };
    });
}

function facts({ server, uptime_seconds: uptime, engine, connections, queue }) {
  $('model-name').textContent = server.model;
  $('fingerprint').textContent = server.fingerprint;
  document.title = `${server.model} – dashboard – Verbatim`;
  const lines = {
    Version: server.version,
    Formats: `weights ${server.weights}, KV ${server.kv}, ${server.isa}`,
    Threads: count(server.workers),
    Context: many(server.model_len, 'token'),
    Up: seconds(uptime),
    'Restarts of the engine': count(server.restarts),
    'Tokens made': count(engine.tokens),
    Preemptions: count(engine.preemptions),
    'Overdue steps': count(engine.overdue_steps),
    Queued: `${many(queue.tokens, 'token')}, ${many(queue.reading, 'body', 'bodies')} to read`,
    Connections: `${count(connections.open)} open, ${count(connections.answering)} answering`,
    'Accepted, evicted': `${count(connections.accepted)}, ${count(connections.evicted)}`,
    Dashboards: count(connections.watchers),
  };
  const list = $('facts');
  if (list.children.length === 0)
    list.append(...Object.keys(lines).map((name) => h('div', {}, h('dt', {}, name), h('dd'))));
  Object.values(lines).forEach((text, i) => {
    const value = list.children[i].lastChild;
    if (value.textContent !== text) value.textContent = text;
  });
}
