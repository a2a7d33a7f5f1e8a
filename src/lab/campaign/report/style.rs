//! The style of the HTML page: no scripts, no fonts from elsewhere, light and dark.

use crate::lab::experiment::Class;

/// The family of a class: what colours it.
pub(super) fn family(class: Class) -> &'static str {
    match class {
        Class::HostCrash | Class::HostHang | Class::Durability | Class::Diverged => "ours",
        Class::Harness => "harness",
        Class::KernelPanic | Class::Invariant => "broken",
        Class::Stalled | Class::Silent => "bad",
        Class::Spread => "spread",
        Class::Latent | Class::Contained => "contained",
        Class::Recovered | Class::Masked => "well",
        Class::NotReached | Class::NoEffect => "nothing",
    }
}

/// The families, and what they say.
pub(super) const FAMILIES: [(&str, &str); 8] = [
    ("nothing", "not reached, no effect"),
    ("well", "masked, recovered"),
    ("contained", "latent, contained"),
    ("spread", "spread, with a signal"),
    ("bad", "silent, stalled"),
    ("broken", "invariant, kernel panic"),
    ("harness", "harness"),
    ("ours", "bug of the host"),
];

pub(super) const CSS: &str = "
:root { color-scheme: light dark; --ink: #1c2024; --soft: #60666d; --line: #d9dde2; --paper: #ffffff; --card: #f5f6f8;
  --ours: #8b1fb3; --harness: #5a5f66; --broken: #c62f2f; --bad: #e07a1f; --spread: #d9b310; --contained: #3f86d1; --well: #3a9d5c;
  --nothing: #c3c8ce; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e7ea; --soft: #9aa2aa; --line: #353b42; --paper: #15181b; --card: #1f2327;
  --ours: #c06be3; --harness: #9aa2aa; --broken: #e8605f; --bad: #ee9445; --spread: #e3c548; --contained: #64a3e6; --well: #55b878;
  --nothing: #454c54; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 64rem; padding: 2rem 1.25rem 4rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; margin: 0; } h2 { font-size: 1.15rem; margin: 2.5rem 0 .6rem; }
p { margin: .4rem 0; } .soft { color: var(--soft); } .small { font-size: .86rem; }
code, pre { font: .86rem/1.5 ui-monospace, monospace; }
pre { background: var(--card); border: 1px solid var(--line); border-radius: 6px; padding: .6rem .8rem; overflow-x: auto; margin: .4rem 0; }
table { border-collapse: collapse; width: 100%; } .scroll { overflow-x: auto; }
th, td { text-align: left; padding: .3rem .9rem .3rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
th { font-weight: 600; color: var(--soft); font-size: .86rem; } td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
td.number, td.word { white-space: nowrap; }
.yes { color: var(--well); } .no { color: var(--broken); font-weight: 700; }
.verdict { display: inline-block; padding: .15rem .7rem; border-radius: 999px; font-weight: 600; margin: .7rem 0 .3rem; }
.verdict.yes { background: #2e7d4a; color: #fff; } .verdict.no { background: #b3261e; color: #fff; }
.tag { display: inline-block; width: .75rem; height: .75rem; border-radius: 3px; margin-right: .45rem; vertical-align: -1px; }
.legend span { margin-right: 1.1rem; white-space: nowrap; }
.finding { border: 1px solid var(--line); border-radius: 8px; padding: .7rem 1rem; margin: .8rem 0; }
.finding h3 { font-size: 1rem; margin: 0 0 .2rem; }
.token { overflow-wrap: anywhere; white-space: pre-wrap; }
svg { max-width: 100%; height: auto; } svg text { fill: var(--ink); font: 11px system-ui, sans-serif; } svg .axis { fill: var(--soft); font-size: 10px; }
.f-ours { background: var(--ours); fill: var(--ours); } .f-harness { background: var(--harness); fill: var(--harness); }
.f-broken { background: var(--broken); fill: var(--broken); } .f-bad { background: var(--bad); fill: var(--bad); }
.f-spread { background: var(--spread); fill: var(--spread); } .f-contained { background: var(--contained); fill: var(--contained); }
.f-well { background: var(--well); fill: var(--well); } .f-nothing { background: var(--nothing); fill: var(--nothing); }
.f-none { fill: none; stroke: var(--line); }
";
