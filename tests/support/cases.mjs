// How a test says where it applies, and how a file gets its server.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { TARGET, start } from './server.mjs';

/** Runs on fanwire and on real nchan: nchan is what the expectation is checked against. */
export function both(name, fn) {
  test(name, fn);
}

/** Runs on fanwire only; the reason says why nchan cannot be asked. */
export function fanwireOnly(reason, name, fn) {
  test(name, { skip: TARGET === 'fanwire' ? false : `fanwire only: ${reason}` }, fn);
}

/**
 * Starts one server for the whole file and stops it at the end. Returns an object that becomes the
 * server once the tests run. `only: true` when no test of the file applies to nchan.
 */
export function useServer(options, { only = false } = {}) {
  const handle = {};
  if (only && TARGET !== 'fanwire') return handle;
  before(async () => {
    const server = await start(typeof options === 'function' ? await options() : options);
    Object.setPrototypeOf(handle, server);
  });
  after(() => Object.getPrototypeOf(handle).stop?.());
  return handle;
}

/** A refusal: nchan sends it empty, fanwire may say why in a line of text. */
export function bare(answer) {
  if (answer.bytes.length === 0) return;
  assert.equal(TARGET, 'fanwire', `unexpected body ${JSON.stringify(answer.text)}`);
  assert.match(answer.header('Content-Type'), /^text\/plain/);
  assert.match(answer.text, /^[^\n]{3,200}\n?$/);
}

/** Fails the test after its time: nothing here waits longer. */
export function within(promise, ms, what) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what} took more than ${ms} ms`)), ms);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}
