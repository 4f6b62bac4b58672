// The server that the tests talk to: started, killed and started again on the same port.

import { spawn } from 'node:child_process';
import { createServer } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';

/** A port that was free just now. */
function freePort() {
  return new Promise((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

/** A server, and the page in front of it: that of the server itself, or what PAGE_PROXY serves. */
export class Server {
  /** `slow`: so slow that there is time to stop an answer and to kill the server. */
  static async start({ slow = false, args = [] } = {}) {
    const server = new Server();
    server.port = await freePort();
    server.args = [
      'serve',
      '--model',
      process.env.MODEL,
      '--served-model-name',
      'demo',
      '--port',
      String(server.port),
      '--log',
      'off',
      '--threads',
      '1',
      ...(slow ? ['--speculate', 'off', '--isa', 'portable', '--weights', 'f32'] : []),
      ...args,
    ];
    await server.up();
    server.page = `http://127.0.0.1:${server.port}/`;
    if (process.env.PAGE_PROXY) {
      const port = await freePort();
      server.proxy = spawn(process.env.PAGE_PROXY, [String(port), String(server.port)], {
        shell: false,
        stdio: 'ignore',
      });
      server.page = `http://127.0.0.1:${port}/`;
      await reached(server.page, { accept: 'text/html' });
    }
    return server;
  }

  /** Starts it, and waits until it answers. */
  async up() {
    this.process = spawn(process.env.PROGRAM, this.args, { stdio: 'ignore' });
    await reached(`http://127.0.0.1:${this.port}/health`);
  }

  /** Ends it at once, as a crash would. */
  kill() {
    const ended = new Promise((resolve) => {
      this.process.once('exit', resolve);
    });
    this.process.kill('SIGKILL');
    return ended;
  }

  /** Ends it and what stands before it. */
  async end() {
    await this.kill();
    this.proxy?.kill('SIGKILL');
  }

  /** What the API itself answers to a body. */
  async ask(body, path = 'v1/chat/completions') {
    const headers = { 'Content-Type': 'application/json' };
    const response = await fetch(`http://127.0.0.1:${this.port}/${path}`, {
      method: 'POST',
      headers,
      body: JSON.stringify(body),
    });
    return response.json();
  }
}

async function reached(url, headers = {}) {
  for (let i = 0; i < 300; i += 1) {
    const response = await fetch(url, { headers }).catch(() => null);
    if (response?.ok) return;
    await pause(100);
  }
  throw new Error(`nothing answers at ${url}`);
}
