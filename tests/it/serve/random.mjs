// A thousand exchanges, as a file tells them; their answers are printed.
import { readFileSync } from 'node:fs';
import { connect } from './connect.mjs';
import { E } from '@endo/captp';

const { getBootstrap, socket } = await connect(process.argv[2]);
const roots = await getBootstrap();
const told = answer =>
  answer.then(
    it => (typeof it === 'object' ? 'a purse' : String(it)),
    error => `${error.name}: ${error.message}`,
  );
const purses = [];
const answers = [];
for (const { bank, purse, method, args } of JSON.parse(readFileSync('exchanges.json', 'utf8'))) {
  if (method === 'makePurse') {
    const made = E(roots[bank]).makePurse(...args);
    if (Number.isInteger(args[0])) {
      purses.push(made);
    }
    answers.push(told(made));
  } else if (method === 'pay') {
    // Arguments are objects, and what one vat asks of another has an order only once it is answered.
    const [from, to, amount] = args;
    await Promise.all(answers);
    const answer = told(E(roots[bank]).pay(await purses[from], await purses[to], amount));
    await answer;
    answers.push(answer);
  } else {
    // Not waited for: a purse may not be there yet.
    answers.push(told(E(purses[purse])[method](...args)));
  }
}
console.log(JSON.stringify(await Promise.all(answers)));
socket.close();
