//! A client of the protocol, as small as it can be.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// Where the module's file lies for a debugger.
pub(crate) const FILE: u64 = 1 << 62;

pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    acknowledges: bool,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Client {
        let stream = TcpStream::connect(address).unwrap();
        // A test that would wait for ever fails instead.
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream.set_nodelay(true).unwrap();
        Client { stream, acknowledges: true }
    }

    /// Connected, and as lldb begins.
    pub(crate) fn shake_hands(&mut self) {
        assert!(self.ask("qSupported:xmlRegisters=i386").contains("qXfer:libraries:read+"));
        assert_eq!(self.ask("QStartNoAckMode"), "OK");
        self.acknowledges = false;
    }

    pub(crate) fn send(&mut self, data: &str) {
        let sum = data.bytes().fold(0_u8, |sum, it| sum.wrapping_add(it));
        self.stream.write_all(format!("${data}#{sum:02x}").as_bytes()).unwrap();
    }

    fn byte(&mut self) -> Option<u8> {
        let mut byte = [0];
        (self.stream.read(&mut byte).ok()? == 1).then_some(byte[0])
    }

    /// The next packet; `None` where the server has hung up.
    pub(crate) fn packet(&mut self) -> Option<String> {
        while self.byte()? != b'$' {}
        let mut data = vec![];
        loop {
            match self.byte()? {
                b'#' => break,
                b'}' => data.push(self.byte()? ^ 0x20),
                byte => data.push(byte),
            }
        }
        // The checksum: who sends it is in the same process.
        self.byte()?;
        self.byte()?;
        if self.acknowledges {
            // It may have hung up behind its last words.
            let _ = self.stream.write_all(b"+");
        }
        Some(String::from_utf8(data).unwrap())
    }

    #[track_caller]
    pub(crate) fn ask(&mut self, data: &str) -> String {
        self.send(data);
        if self.acknowledges {
            assert_eq!(self.byte(), Some(b'+'), "{data} is acknowledged");
        }
        self.packet().unwrap_or_else(|| panic!("no answer to {data}"))
    }

    /// The call stack, as offsets in the file.
    pub(crate) fn stack(&mut self) -> Vec<u64> {
        let words = unhex(&self.ask("qWasmCallStack:1"));
        let words = words.as_chunks().0.iter().map(|it| u64::from_le_bytes(*it));
        words.inspect(|it| assert_eq!(it & FILE, FILE)).map(|it| it & !FILE).collect()
    }

    /// A value of a frame, as a number.
    pub(crate) fn value(&mut self, kind: &str, frame: usize, index: usize) -> u64 {
        let answer = self.ask(&format!("qWasm{kind}:{frame};{index}"));
        let bytes = unhex(&answer);
        bytes.iter().rev().fold(0, |sum, it| sum << 8 | u64::from(*it))
    }

    /// All that there is from an address on.
    pub(crate) fn read(&mut self, from: u64) -> Vec<u8> {
        let mut bytes = vec![];
        loop {
            let answer = self.ask(&format!("m{:x},10000", from + bytes.len() as u64));
            if answer.starts_with('E') {
                return bytes;
            }
            bytes.extend(unhex(&answer));
        }
    }

    pub(crate) fn breakpoint(&mut self, set: bool, at: u64) {
        let packet = format!("{}0,{:x},1", if set { "Z" } else { "z" }, FILE | at);
        assert_eq!(self.ask(&packet), "OK");
    }
}

#[track_caller]
pub(crate) fn unhex(text: &str) -> Vec<u8> {
    assert!(text.len().is_multiple_of(2), "{text}");
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}
