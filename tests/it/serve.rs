//! A host that stays up: what clients are told, what is durable, what is bounded.

#[path = "serve/calls.rs"]
mod calls;
#[path = "serve/captp.rs"]
mod captp;
#[path = "serve/client.rs"]
mod client;
#[path = "serve/crash.rs"]
mod crash;
#[path = "serve/frames.rs"]
mod frames;
#[path = "serve/hostile.rs"]
mod hostile;
#[path = "serve/life.rs"]
mod life;
#[path = "serve/node.rs"]
mod node;
#[path = "serve/npm.rs"]
mod npm;
#[path = "serve/operate.rs"]
mod operate;
#[path = "serve/readme.rs"]
mod readme;
#[path = "serve/server.rs"]
mod server;
