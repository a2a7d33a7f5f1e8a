// Objects passed both ways: what came of each step is a line that begins with `#`; the package prints lines of its own.
import { connect } from './connect.mjs';
import { E } from '@endo/captp';
import { Far } from '@endo/marshal';

const say = it => console.log(`# ${it}`);
const fails = it => it.then(() => 'no', error => error.message);
const { getBootstrap, socket } = await connect(process.argv[2], (code, why) => say(`closed ${code} ${why}`));
const { market, north, south } = await getBootstrap();

const purse = await E(north).makePurse(100);
say(`balance ${await E(purse).balance()}`);
// Sent before there is a purse.
const early = E(south).makePurse(5);
E(early).deposit(1);
say(`early ${await E(early).balance()}`);

// An object of ours, which the vat calls.
let till = 0n;
const ours = Far('till', { deposit: amount => { till += amount; } });
say(`left ${await E(north).pay(purse, ours, 20)}, in the till ${till}`);
// One that answers later, and one that refuses.
const slow = Far('slow', { deposit: amount => new Promise(done => setTimeout(done, 20)) });
say(`left ${await E(north).pay(purse, slow, 5)}`);
const never = Far('never', { deposit: () => { throw Error('we are closed'); } });
say(`refused ${await fails(E(north).pay(purse, never, 20))}`);
say(`balance ${await E(purse).balance()}`);

// A whole bank of ours: its purses go to the vats, and theirs come to it.
let paid = 0;
const makePurse = start => {
  let balance = BigInt(start);
  return Far('our purse', { balance: () => balance, deposit: amount => { balance += amount; } });
};
const bank = Far('our bank', {
  makePurse,
  pay: async (from, to, amount) => {
    await E(to).deposit(amount);
    paid += 1;
    return 0n;
  },
});
say(`kept paying ${await E(market).keepPaying(bank, south, 3)}, paid ${paid}`);

// What we let go is collected: the host sees a drop for each.
const letGo = async () => {
  for (let i = 0; i < 20; i += 1) {
    await E(north).makePurse(i);
  }
};
await letGo();
for (let i = 0; i < 10; i += 1) {
  gc();
  await new Promise(done => setTimeout(done, 10));
}
say(`balance ${await E(purse).balance()}`);
say('ready');
await new Promise(go => process.stdin.once('data', go));
const forever = Far('forever', { deposit: () => new Promise(() => {}) });
const pending = fails(E(north).pay(purse, forever, 5));
await E(purse).balance();
socket.close();
say(`pending ${await pending}`);
process.stdin.destroy();
