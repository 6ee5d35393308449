//! `tcp` and `dns` in a script.

use regex::bytes::{Regex, RegexBuilder};
use rhai::{Array, Dynamic, Engine, Map};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::engine::text_of;
use super::fault::{Answer, Fault};
use super::run::{Run, current};
use crate::probes::result::{Failure, Phase, Reason};
use crate::probes::trace::{Timed, Trace};
use crate::probes::wire::{MAX_REGEX, MAX_SHOWN, Place, connect, io_reason, lookup_failure, show};
use crate::rules::{did_you_mean, type_name};

/// How much of what comes back within one turn of an exchange is looked at.
const MAX_ANSWER: usize = 64 * 1024;
/// The most turns of one exchange.
const MAX_TURNS: usize = 64;
/// How much is read at once.
const CHUNK: usize = 4 * 1024;

/// The handle of `tcp` in a script.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tcp;

/// The handle of `dns` in a script.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dns;

/// One turn of an exchange: sends, then reads until it matches.
struct Turn {
    send: String,
    expect: Option<Regex>,
}

/// Registers what scripts can do with them.
pub(super) fn register(engine: &mut Engine) {
    engine.register_type_with_name::<Tcp>("tcp");
    engine.register_fn("exchange", |_: &mut Tcp, address: &str, send: &str, expect: &str| -> Answer<String> {
        let turn = Turn { send: send.to_owned(), expect: Some(regex(expect)?) };
        let mut answers = exchange(&*current()?, address, &[turn])?;
        Ok(answers.pop().unwrap_or_default())
    });
    engine.register_fn("exchange", |_: &mut Tcp, address: &str, turns: Array| -> Answer<Array> {
        if turns.len() > MAX_TURNS {
            return Err(Fault::of_script(format!("an exchange has at most {MAX_TURNS} turns")).thrown());
        }
        let turns = turns.iter().map(turn).collect::<Answer<Vec<_>>>()?;
        Ok(exchange(&*current()?, address, &turns)?.into_iter().map(Dynamic::from).collect())
    });
    engine.register_type_with_name::<Dns>("dns");
    engine.register_fn("lookup", |_: &mut Dns, name: &str| -> Answer<Array> { lookup(&*current()?, name) });
}

fn regex(text: &str) -> Answer<Regex> {
    let made = RegexBuilder::new(text).size_limit(MAX_REGEX).build();
    made.map_err(|error| Fault::of_script(format!("`{text}` is no regular expression: {error}")).thrown())
}

fn turn(value: &Dynamic) -> Answer<Turn> {
    let wrong = |why: String| Fault::of_script(format!("a turn of an exchange {why}")).thrown();
    let map =
        value.as_map_ref().map_err(|_| wrong(format!("is {}: it is a map with send or expect", type_name(value))))?;
    let map: &Map = &map;
    if let Some(other) = map.keys().find(|key| !["send", "expect"].contains(&key.as_str())) {
        return Err(wrong(format!("has no `{other}`{}", did_you_mean(other, ["send", "expect"]))));
    }
    Ok(Turn {
        send: map.get("send").map(text_of).unwrap_or_default(),
        expect: map.get("expect").map(|expect| regex(&text_of(expect))).transpose()?,
    })
}

/// Makes an exchange, and gives what came back in each turn.
fn exchange(run: &Run, address: &str, turns: &[Turn]) -> Answer<Vec<String>> {
    let place = Place::parse("address", address, None, None).map_err(|error| Fault::of_script(error.why).thrown())?;
    run.given.hosts.allow(&place.host, Some(place.port)).map_err(|why| Fault::of_script(why).thrown())?;
    let what = format!("tcp {place}");
    let answers = run.call(&what, None, async |trace| {
        let stream = connect(trace, run.given.outbound.lookup(), &place).await?;
        let mut stream = Timed::new(stream, trace.exchange());
        let mut answers = Vec::with_capacity(turns.len());
        for turn in turns {
            answers.push(take(&mut stream, turn, trace).await?);
        }
        Ok(answers)
    })?;
    run.log(&format!("{what}: {} turns", answers.len()));
    Ok(answers)
}

async fn take(stream: &mut Timed<TcpStream>, turn: &Turn, trace: &mut Trace) -> Result<String, Failure> {
    if !turn.send.is_empty() {
        let sent = stream.write_all(turn.send.as_bytes()).await;
        sent.map_err(|error| Failure::new(io_reason(&error, Reason::Send), format!("while sending: {error}")))?;
    }
    let Some(expect) = &turn.expect else { return Ok(String::new()) };
    let mut answer = Vec::new();
    let mut chunk = [0; CHUNK];
    while !expect.is_match(&answer) || answer.is_empty() {
        let read = stream.read(&mut chunk).await.map_err(|error| {
            let seen = show(&answer, MAX_SHOWN);
            Failure::new(io_reason(&error, Reason::Reset), format!("after {seen}: {error}"))
        })?;
        let room = MAX_ANSWER.saturating_sub(answer.len());
        answer.extend(chunk.iter().take(read.min(room)));
        trace.fact("answerBytes", answer.len());
        if (read == 0 || answer.len() >= MAX_ANSWER) && !expect.is_match(&answer) {
            let seen = show(&answer, MAX_SHOWN);
            return Err(Failure::new(Reason::Expect, format!("received {seen}, which does not match `{expect}`")));
        }
        if read == 0 {
            break;
        }
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// The addresses of a name that may be reached.
fn lookup(run: &Run, name: &str) -> Answer<Array> {
    run.given.hosts.allow(name, None).map_err(|why| Fault::of_script(why).thrown())?;
    let addresses = run.call(&format!("dns {name}"), None, async |trace| {
        trace.enter(Phase::Resolve);
        run.given.outbound.lookup().resolve(name).await.map_err(|error| lookup_failure(&error))
    })?;
    run.log(&format!("dns {name}: {} addresses", addresses.len()));
    Ok(addresses.into_iter().map(|address| Dynamic::from(address.to_string())).collect())
}
