// A connection of `@endo/captp` to a served host.
import '@endo/init';
import { makeCapTP } from '@endo/captp';
import WebSocket from 'ws';

export const connect = async (url, onClose = () => {}) => {
  const socket = new WebSocket(url);
  const captp = makeCapTP('client', frame => socket.send(JSON.stringify(frame)), undefined, {
    gcImports: true,
    onReject: () => {},
  });
  socket.on('message', frame => captp.dispatch(JSON.parse(frame)));
  socket.on('close', (code, why) => {
    captp.abort(Error(`closed: ${why}`));
    onClose(code, String(why));
  });
  await new Promise((open, fail) => socket.on('open', open).on('error', fail));
  return { ...captp, socket };
};
