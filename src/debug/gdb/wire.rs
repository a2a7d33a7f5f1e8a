//! The wire format of gdb-remote over a socket: packets of `$`, data, `#` and two digits of a checksum; and the byte 3, an interrupt.
//!
//! Invariants: no input causes a panic; a packet takes bounded memory, and so do all that wait; the order of input is kept, so that an
//! interrupt applies to the command before it; an interrupt is read however many packets wait.

use std::{
    collections::VecDeque,
    io::{self, Read, Write},
    net::{Shutdown, TcpStream},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
};

use crate::vat::Interrupter;

/// Bytes of a packet's data, either way: what `PacketSize` promises.
pub(super) const PACKET_BYTES_MAX: usize = 0x4000;

/// Packets that may wait; further ones are dropped. A good client sends the next packet only when it has the answer.
const WAITING_MAX: usize = 1 << 10;
/// Bytes of the packets that may wait.
const WAITING_BYTES_MAX: usize = 1 << 20;

/// A message that a client sends.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Input {
    /// A packet, and whether it is good: its checksum is right, and it was not too long.
    Packet(Vec<u8>, bool),
    /// The interrupt, ^C: stop the running guest.
    Interrupt,
    /// The client asks for the last packet again.
    Again,
}

/// The connection to one debugger client.
#[derive(Debug)]
pub(super) struct Client {
    stream: TcpStream,
    input: Arc<Inbox>,
    reader: Option<JoinHandle<()>>,
    /// Whether packets are acknowledged.
    acknowledges: bool,
    last: Vec<u8>,
}

impl Client {
    pub(super) fn new(stream: TcpStream, interrupter: Interrupter) -> io::Result<Client> {
        // Small packets, back and forth.
        stream.set_nodelay(true)?;
        let from = stream.try_clone()?;
        let input = Arc::new(Inbox::default());
        let inbox = input.clone();
        let read = move || {
            let mut parser = Parser::default();
            let mut bytes = [0; 4 << 10];
            let mut from = from;
            while let Ok(read @ 1..) = from.read(&mut bytes) {
                for input in bytes.iter().take(read).filter_map(|it| parser.take(*it)) {
                    let interrupts = input == Input::Interrupt;
                    inbox.put(input);
                    if interrupts {
                        interrupter.interrupt();
                    }
                }
            }
            inbox.close();
        };
        let reader = thread::Builder::new().name("gdb-remote".to_owned()).spawn(read)?;
        Ok(Client { stream, input, reader: Some(reader), acknowledges: true, last: Vec::new() })
    }

    /// Waits for the next good packet, and acknowledges it. `None` if the client has disconnected.
    pub(super) fn next(&mut self) -> Option<Vec<u8>> {
        loop {
            match self.input.take()? {
                Input::Packet(data, good) => {
                    if self.acknowledges {
                        self.stream.write_all(if good { b"+" } else { b"-" }).ok()?;
                    }
                    if good {
                        return Some(data);
                    }
                }
                Input::Again if self.acknowledges => self.stream.write_all(&self.last).ok()?,
                // The guest is stopped already.
                Input::Again | Input::Interrupt => (),
            }
        }
    }

    /// Returns whether the client has interrupted the running guest.
    pub(super) fn interrupts(&mut self) -> bool {
        self.input.take_interrupt()
    }

    /// Sends a packet to the client.
    pub(super) fn send(&mut self, data: &str) -> io::Result<()> {
        self.last = framed(data.as_bytes());
        self.stream.write_all(&self.last)
    }

    /// Stops acknowledging packets from now on.
    pub(super) fn stop_acknowledging(&mut self) {
        self.acknowledges = false;
    }
}

/// Ends the connection, and the thread that reads from it.
impl Drop for Client {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.stream.shutdown(Shutdown::Both);
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

/// The input that was read and is not handled yet.
#[derive(Debug, Default)]
struct Inbox {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    inputs: VecDeque<Input>,
    bytes: usize,
    closed: bool,
}

impl Inbox {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an input. Never waits, since an interrupt may follow.
    fn put(&self, input: Input) {
        let mut waiting = self.waiting();
        let bytes = match &input {
            Input::Packet(data, _) => data.len(),
            Input::Interrupt | Input::Again => 0,
        };
        let is_full = waiting.inputs.len() >= WAITING_MAX || waiting.bytes + bytes > WAITING_BYTES_MAX;
        let is_new_interrupt = input == Input::Interrupt && waiting.inputs.back() != Some(&Input::Interrupt);
        if !is_full || is_new_interrupt {
            waiting.bytes += bytes;
            waiting.inputs.push_back(input);
            self.changed.notify_one();
        }
    }

    /// Marks the inbox as closed: no more input will come.
    fn close(&self) {
        self.waiting().closed = true;
        self.changed.notify_one();
    }

    /// Waits for the next input; `None` if there will be none.
    fn take(&self) -> Option<Input> {
        let is_awaited = |it: &mut Waiting| it.inputs.is_empty() && !it.closed;
        let mut waiting = self.changed.wait_while(self.waiting(), is_awaited).unwrap_or_else(PoisonError::into_inner);
        let input = waiting.inputs.pop_front()?;
        if let Input::Packet(data, _) = &input {
            waiting.bytes -= data.len();
        }
        Some(input)
    }

    /// Takes all input up to the first interrupt, and returns whether there is one. Packets to a running guest are dropped.
    fn take_interrupt(&self) -> bool {
        let mut waiting = self.waiting();
        while let Some(input) = waiting.inputs.pop_front() {
            match input {
                Input::Packet(data, _) => waiting.bytes -= data.len(),
                Input::Interrupt => return true,
                Input::Again => (),
            }
        }
        false
    }
}

/// Frames a packet, and escapes the bytes that would end it early.
fn framed(data: &[u8]) -> Vec<u8> {
    let mut out = vec![b'$'];
    for byte in data {
        match byte {
            b'#' | b'$' | b'}' | b'*' => out.extend([b'}', byte ^ 0x20]),
            byte => out.push(*byte),
        }
    }
    let sum = checksum(out.get(1..).unwrap_or_default());
    out.extend(format!("#{sum:02x}").into_bytes());
    out
}

fn checksum(data: &[u8]) -> u8 {
    data.iter().fold(0, |sum, it| sum.wrapping_add(*it))
}

/// A parser that splits the stream into inputs, byte by byte.
#[derive(Debug, Default)]
struct Parser {
    place: PacketPlace,
    data: Vec<u8>,
    sum: u8,
    too_long: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum PacketPlace {
    #[default]
    Between,
    Data,
    Escaped,
    FirstDigit,
    SecondDigit(u8),
}

impl Parser {
    /// Takes the next byte, and returns the input that it completes. Other bytes between packets are ignored.
    fn take(&mut self, byte: u8) -> Option<Input> {
        match (self.place, byte) {
            (PacketPlace::Between, b'$') => *self = Parser { place: PacketPlace::Data, ..Parser::default() },
            (PacketPlace::Between, 3) => return Some(Input::Interrupt),
            (PacketPlace::Between, b'-') => return Some(Input::Again),
            (PacketPlace::Between, _) => (),
            (PacketPlace::Data | PacketPlace::Escaped, b'#') => self.place = PacketPlace::FirstDigit,
            // A new packet begins: the end of the last one was lost.
            (PacketPlace::Data, b'$') => *self = Parser { place: PacketPlace::Data, ..Parser::default() },
            (PacketPlace::Data, b'}') => {
                self.sum = self.sum.wrapping_add(byte);
                self.place = PacketPlace::Escaped;
            }
            (PacketPlace::Data | PacketPlace::Escaped, byte) => {
                self.sum = self.sum.wrapping_add(byte);
                let meant = if self.place == PacketPlace::Escaped { byte ^ 0x20 } else { byte };
                self.place = PacketPlace::Data;
                if self.data.len() < PACKET_BYTES_MAX {
                    self.data.push(meant);
                } else {
                    self.too_long = true;
                }
            }
            (PacketPlace::FirstDigit, digit) => self.place = PacketPlace::SecondDigit(digit),
            (PacketPlace::SecondDigit(first), second) => {
                self.place = PacketPlace::Between;
                let digits = [first, second];
                let told = str::from_utf8(&digits).ok().and_then(|it| u8::from_str_radix(it, 16).ok());
                let good = told == Some(self.sum) && !self.too_long;
                return Some(Input::Packet(std::mem::take(&mut self.data), good));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Vec<Input> {
        let mut parser = Parser::default();
        bytes.iter().filter_map(|it| parser.take(*it)).collect()
    }

    fn packet(data: &[u8], good: bool) -> Input {
        Input::Packet(data.to_vec(), good)
    }

    #[test]
    fn an_interrupt_is_read_behind_any_number_of_packets() {
        let inbox = Inbox::default();
        for _ in 0..10 * WAITING_MAX {
            inbox.put(packet(b"vCont;c", true));
        }
        (0..10).for_each(|_| inbox.put(packet(&[0; PACKET_BYTES_MAX], true)));
        (0..10).for_each(|_| inbox.put(Input::Interrupt));
        assert_eq!(inbox.waiting().inputs.len(), WAITING_MAX + 1);
        assert!(inbox.take_interrupt() && !inbox.take_interrupt());
        assert_eq!(inbox.waiting().bytes, 0);
        inbox.close();
        assert_eq!(inbox.take(), None);
    }

    #[test]
    fn what_is_framed_is_read() {
        for data in [&b""[..], b"qSupported", b"a#b$c}d*e\x03-+", &[0xff; 100]] {
            assert_eq!(read(&framed(data)), [packet(data, true)], "{data:?}");
        }
    }

    #[test]
    fn a_packet_is_read_between_what_is_none() {
        let bytes = b"+zz\x03-$?#3f+$?#40$?#zz$lost$c#63";
        let expected = [
            Input::Interrupt,
            Input::Again,
            packet(b"?", true),
            packet(b"?", false),
            packet(b"?", false),
            packet(b"c", true),
        ];
        assert_eq!(read(bytes), expected);
    }

    #[test]
    fn one_that_is_too_long_is_bad_and_takes_no_memory() {
        let long = framed(&vec![b'a'; 3 * PACKET_BYTES_MAX]);
        let inputs = read(&long);
        assert!(matches!(&inputs[..], [Input::Packet(data, false)] if data.len() == PACKET_BYTES_MAX));
    }
}
