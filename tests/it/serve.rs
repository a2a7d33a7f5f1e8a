//! A host that stays up: what clients are told, what is durable, what is bounded.

#[path = "serve/calls.rs"]
mod calls;
#[path = "serve/captp.rs"]
mod captp;
#[path = "serve/client.rs"]
mod client;
#[path = "serve/crash.rs"]
mod crash;
#[path = "serve/hostile.rs"]
mod hostile;
#[path = "serve/life.rs"]
mod life;
#[path = "serve/server.rs"]
mod server;
