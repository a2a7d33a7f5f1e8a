// A client of the bank as `@endo/captp` has it. It writes frames as lines; a line that begins with `#` is what came of something.
import '@endo/init';
import { E, makeCapTP } from '@endo/captp';
import readline from 'node:readline';

const say = it => console.log(`#${it}`);
const { dispatch, getBootstrap, abort } = makeCapTP(
  'client',
  message => console.log(JSON.stringify(message)),
  undefined,
  { gcImports: true, onReject: () => {} },
);
readline.createInterface({ input: process.stdin }).on('line', line => dispatch(JSON.parse(line)));

const bootstrap = await getBootstrap();
say(`roots ${Object.keys(bootstrap).sort()}`);
const purse = E(bootstrap.north).makePurse(100);
// Both are sent before the purse is there.
const paid = E(purse).withdraw(30);
say(`balance ${await E(purse).balance()}`);
await paid;
say(`rejected ${await E(purse).withdraw(3000).then(() => false, () => true)}`);
const other = E(bootstrap.south).makePurse(1);
await E(other).deposit(30);
say(`south ${await E(other).balance()}`);
// The bootstrap record's members can be called before it is there.
const again = E(E.get(getBootstrap()).north).makePurse(12);
say(`member ${await E(again).balance()}`);
say('dropped true');
const pending = E(bootstrap.north).makePurse(1);
abort('good night');
say(`disconnected ${await pending.then(() => false, () => true)}`);
process.exit(0);
