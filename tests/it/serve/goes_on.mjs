// A client that goes on by itself, whatever happens to its host: it is told so by lines.
import { connect } from './session.mjs';
import { E } from '@endo/captp';
import { Far } from '@endo/marshal';
import readline from 'node:readline';

const { getBootstrap, abort } = connect(process.argv[2]);
const { north } = await getBootstrap();
const purse = await E(north).makePurse(1000);
let till = 0n;
const ours = Far('till', { deposit: amount => { till += amount; } });
console.log('# begun');
let calls = 0;
const asked = [];
const lines = readline.createInterface({ input: process.stdin });
const busy = setInterval(() => {
  calls += 1;
  asked.push(calls % 3 === 0 ? E(north).pay(purse, ours, 1) : E(purse).withdraw(1));
}, 5);
for await (const line of lines) {
  if (line === 'enough') break;
}
clearInterval(busy);
const rejected = (await Promise.allSettled(asked)).filter(it => it.status === 'rejected').length;
const balance = await E(purse).balance();
console.log(`# rejected ${rejected}, missing ${1000n - BigInt(calls) - balance}, till ${till - BigInt(Math.floor(calls / 3))}`);
console.log(`# calls ${calls > 50 ? 'many' : calls}`);
abort('done');
setTimeout(() => process.exit(0), 200);
