//! From the clear to TLS, protocol by protocol.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::api::StartTls;
use crate::probes::result::{Failure, Reason};
use crate::probes::wire::{MAX_SHOWN, io_reason, show};

/// The most that is read before TLS begins: greetings have a few hundred bytes, long ones with a
/// legal notice a few thousand.
const MAX_ANSWER: usize = 16 * 1024;
/// The largest answer of a binary protocol.
const MAX_PACKET: usize = 4 * 1024;
/// The request of `PostgreSQL`: its length, and the number that stands for TLS.
const POSTGRES_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];
/// The extended operation 1.3.6.1.4.1.1466.20037 of LDAP as message 1.
const LDAP_REQUEST: &[u8] = b"\x30\x1d\x02\x01\x01\x77\x18\x80\x161.3.6.1.4.1.1466.20037";
/// The flag of `MySQL` for TLS, in the server's and in the client's capabilities.
const MYSQL_TLS: u32 = 0x0800;
/// What a client of `MySQL` says beside: protocol 4.1, secure connections, authentication plugins.
const MYSQL_CLIENT: u32 = MYSQL_TLS | 0x0200 | 0x8000 | 0x0008_0000;

/// Brings a connection to where TLS begins.
///
/// # Errors
/// The other side does not speak the protocol, does not offer TLS, or has gone.
pub(super) async fn turn(
    protocol: StartTls,
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
) -> Result<(), Failure> {
    let mut talk = Talk { stream, read: Vec::new() };
    match protocol {
        StartTls::Smtp => {
            talk.reply("220").await?;
            talk.send(b"EHLO probegate\r\n").await?;
            let offers = talk.reply("250").await?;
            if !offers
                .lines()
                .any(|line| line.get(4..).is_some_and(|word| word.trim().eq_ignore_ascii_case("STARTTLS")))
            {
                return Err(wrong("it does not offer STARTTLS"));
            }
            talk.send(b"STARTTLS\r\n").await?;
            talk.reply("220").await?;
        }
        StartTls::Ftp => {
            talk.reply("220").await?;
            talk.send(b"AUTH TLS\r\n").await?;
            talk.reply("234").await?;
        }
        StartTls::Pop3 => {
            talk.line_with("+OK").await?;
            talk.send(b"STLS\r\n").await?;
            talk.line_with("+OK").await?;
        }
        StartTls::Imap => {
            talk.line_with("* OK").await?;
            talk.send(b"a1 STARTTLS\r\n").await?;
            talk.tagged("a1 ").await?;
        }
        StartTls::Postgres => {
            talk.send(&POSTGRES_REQUEST).await?;
            match talk.exactly(1).await?.as_slice() {
                b"S" => {}
                b"N" => return Err(wrong("it does not offer TLS")),
                other => return Err(unexpected(other)),
            }
        }
        StartTls::Mysql => mysql(&mut talk).await?,
        StartTls::Ldap => ldap(&mut talk).await?,
    }
    talk.end()
}

fn wrong(what: &str) -> Failure {
    Failure::new(Reason::Protocol, format!("before TLS: {what}"))
}

fn unexpected(answer: &[u8]) -> Failure {
    wrong(&format!("it answers {}", show(answer, MAX_SHOWN)))
}

/// A conversation in the clear.
struct Talk<'a, S> {
    stream: &'a mut S,
    /// What was read and not yet looked at.
    read: Vec<u8>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Talk<'_, S> {
    async fn send(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let sent = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        sent.await.map_err(|error| Failure::new(io_reason(&error, Reason::Send), format!("before TLS: {error}")))
    }

    /// Reads more.
    async fn more(&mut self) -> Result<(), Failure> {
        if self.read.len() >= MAX_ANSWER {
            return Err(wrong(&format!("it has sent {MAX_ANSWER} bytes without an end")));
        }
        let mut chunk = [0; 1_024];
        let count = self
            .stream
            .read(&mut chunk)
            .await
            .map_err(|error| Failure::new(io_reason(&error, Reason::Reset), format!("before TLS: {error}")))?;
        if count == 0 {
            let seen = show(&self.read, MAX_SHOWN);
            return Err(Failure::new(Reason::Reset, format!("before TLS: the connection was closed after {seen}")));
        }
        self.read.extend(chunk.iter().take(count));
        Ok(())
    }

    /// The next line, without its end.
    async fn line(&mut self) -> Result<String, Failure> {
        loop {
            if let Some(end) = self.read.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.read.drain(..=end).collect();
                return Ok(String::from_utf8_lossy(&line).trim_end().to_owned());
            }
            self.more().await?;
        }
    }

    async fn line_with(&mut self, start: &str) -> Result<(), Failure> {
        let line = self.line().await?;
        if line.starts_with(start) { Ok(()) } else { Err(unexpected(line.as_bytes())) }
    }

    /// A reply of one or more lines with a code, as SMTP and FTP have it.
    async fn reply(&mut self, code: &str) -> Result<String, Failure> {
        let mut reply = String::new();
        loop {
            let line = self.line().await?;
            let last = match line.strip_prefix(code) {
                Some(rest) => !rest.starts_with('-'),
                // Within a reply of FTP lines may begin with anything.
                None if !reply.is_empty() && !line.starts_with(|c: char| c.is_ascii_digit()) => false,
                None => return Err(unexpected(line.as_bytes())),
            };
            reply.push_str(&line);
            reply.push('\n');
            if last {
                return Ok(reply);
            }
            if reply.len() > MAX_ANSWER {
                return Err(wrong("its reply has no end"));
            }
        }
    }

    /// The answer to a command with a tag, as IMAP has it; what is not for it is skipped.
    async fn tagged(&mut self, tag: &str) -> Result<(), Failure> {
        let mut skipped = 0;
        loop {
            let line = self.line().await?;
            match line.strip_prefix(tag) {
                Some(rest) if rest.to_ascii_uppercase().starts_with("OK") => return Ok(()),
                Some(_) => return Err(unexpected(line.as_bytes())),
                None => skipped += line.len() + 1,
            }
            if skipped > MAX_ANSWER {
                return Err(wrong("its answer has no end"));
            }
        }
    }

    async fn exactly(&mut self, count: usize) -> Result<Vec<u8>, Failure> {
        while self.read.len() < count {
            self.more().await?;
        }
        Ok(self.read.drain(..count).collect())
    }

    /// Nothing may follow in the clear: it would be taken for something said under TLS.
    fn end(self) -> Result<(), Failure> {
        if self.read.is_empty() {
            return Ok(());
        }
        Err(wrong(&format!("it goes on in the clear with {}", show(&self.read, MAX_SHOWN))))
    }
}

async fn mysql<S: AsyncRead + AsyncWrite + Unpin>(talk: &mut Talk<'_, S>) -> Result<(), Failure> {
    let head = talk.exactly(4).await?;
    let length = head.iter().take(3).rev().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
    if length > MAX_PACKET {
        return Err(wrong(&format!("its greeting has {length} bytes: it is none of MySQL")));
    }
    let greeting = talk.exactly(length).await?;
    if !mysql_offers_tls(&greeting).ok_or_else(|| unexpected(&greeting))? {
        return Err(wrong("it does not offer TLS"));
    }
    let mut request = vec![32, 0, 0, 1];
    request.extend(MYSQL_CLIENT.to_le_bytes());
    // The largest packet, and utf8mb4; then nothing for 23 bytes.
    request.extend((1_u32 << 24).to_le_bytes());
    request.push(45);
    request.extend([0; 23]);
    talk.send(&request).await
}

/// Whether the greeting of protocol 10 offers TLS; `None` where it is none.
fn mysql_offers_tls(greeting: &[u8]) -> Option<bool> {
    let (10, rest) = greeting.split_first()? else { return None };
    let version = rest.iter().position(|byte| *byte == 0)?;
    // After the version and its zero: thread (4), salt (8), filler (1), capabilities.
    let capabilities = rest.get(version + 14..version + 16)?;
    let flags = u16::from_le_bytes(capabilities.try_into().ok()?);
    Some(u32::from(flags) & MYSQL_TLS != 0)
}

async fn ldap<S: AsyncRead + AsyncWrite + Unpin>(talk: &mut Talk<'_, S>) -> Result<(), Failure> {
    talk.send(LDAP_REQUEST).await?;
    let mut head = talk.exactly(2).await?;
    let length = match head.as_slice() {
        [0x30, short] if *short < 0x80 => usize::from(*short),
        [0x30, long @ 0x81..=0x84] => {
            let more = talk.exactly(usize::from(*long & 0x7f)).await?;
            more.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte))
        }
        _ => return Err(unexpected(&head)),
    };
    if length > MAX_PACKET {
        return Err(wrong(&format!("its answer has {length} bytes")));
    }
    let answer = talk.exactly(length).await?;
    match ldap_result(&answer) {
        Some(0) => Ok(()),
        Some(code) => Err(wrong(&format!("it refuses TLS with the result {code}"))),
        None => {
            head.extend(answer);
            Err(unexpected(&head))
        }
    }
}

/// The result code of an answer to message 1; `None` where it is none.
fn ldap_result(answer: &[u8]) -> Option<u8> {
    let rest = answer.strip_prefix(b"\x02\x01\x01\x78")?;
    let (first, rest) = rest.split_first()?;
    let rest = if *first < 0x80 { rest } else { rest.get(usize::from(*first & 0x7f)..)? };
    match rest {
        [0x0a, 1, code, ..] => Some(*code),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    /// What comes of a conversation with a server that says all of this, and then waits or goes.
    async fn talk(protocol: StartTls, says: &[u8]) -> (Result<(), Reason>, Vec<u8>) {
        let (mut ours, mut theirs) = tokio::io::duplex(64 * 1024);
        theirs.write_all(says).await.unwrap();
        theirs.shutdown().await.unwrap();
        let ended = turn(protocol, &mut ours).await.map_err(|failure| failure.reason);
        drop(ours);
        let mut heard = Vec::new();
        theirs.read_to_end(&mut heard).await.unwrap();
        (ended, heard)
    }

    const MYSQL: &[u8] = b"\x21\0\0\0\x0a8.0.36\0\x01\0\0\0saltsalt\0\xff\xff-------------";

    #[rstest]
    #[case::smtp(
        StartTls::Smtp,
        b"220-hello\r\n220 mail\r\n250-mail\r\n250-STARTTLS\r\n250 SIZE 1\r\n220 go\r\n",
        "EHLO probegate\r\nSTARTTLS\r\n"
    )]
    #[case::ftp(StartTls::Ftp, b"220-hello\r\n anything\r\n220 ftp\r\n234 go\r\n", "AUTH TLS\r\n")]
    #[case::pop3(StartTls::Pop3, b"+OK hello\r\n+OK go\r\n", "STLS\r\n")]
    #[case::imap(StartTls::Imap, b"* OK hello\r\n* CAPABILITY IMAP4rev1\r\na1 OK go\r\n", "a1 STARTTLS\r\n")]
    #[case::postgres(StartTls::Postgres, b"S", "\0\0\0\x08\x04\u{d2}\x16/")]
    #[case::ldap(StartTls::Ldap, b"\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\0\x04\0\x04\0", "")]
    #[tokio::test]
    async fn every_protocol_comes_to_where_tls_begins(
        #[case] protocol: StartTls,
        #[case] says: &[u8],
        #[case] sent: &str,
    ) {
        let (ended, heard) = talk(protocol, says).await;
        assert_eq!(ended, Ok(()));
        let heard: String = heard.iter().map(|byte| char::from(*byte)).collect();
        assert!(heard.contains(sent), "{heard:?}");
    }

    #[tokio::test]
    async fn a_database_is_asked_for_tls_in_its_own_way() {
        let mut greeting = MYSQL.to_vec();
        greeting[0] = u8::try_from(greeting.len() - 4).unwrap();
        let (ended, heard) = talk(StartTls::Mysql, &greeting).await;
        assert_eq!((ended, heard.len(), &heard[..4]), (Ok(()), 36, &[32, 0, 0, 1][..]));
    }

    #[rstest]
    #[case::not_offered(StartTls::Smtp, b"220 mail\r\n250 SIZE 1\r\n", Reason::Protocol)]
    #[case::refused(StartTls::Smtp, b"220 mail\r\n250 STARTTLS\r\n454 later\r\n", Reason::Protocol)]
    #[case::another_protocol(StartTls::Smtp, b"SSH-2.0-OpenSSH\r\n", Reason::Protocol)]
    #[case::injected(StartTls::Smtp, b"220 mail\r\n250 STARTTLS\r\n220 go\r\n250 in the clear\r\n", Reason::Protocol)]
    #[case::gone(StartTls::Imap, b"* OK he", Reason::Reset)]
    #[case::unwilling(StartTls::Imap, b"* BYE\r\n", Reason::Protocol)]
    #[case::no(StartTls::Postgres, b"N", Reason::Protocol)]
    #[case::error(StartTls::Postgres, b"E", Reason::Protocol)]
    #[case::host_is_blocked(StartTls::Mysql, b"\x03\0\0\0\xff\x69\x04", Reason::Protocol)]
    #[case::huge(StartTls::Mysql, b"\xff\xff\xff\0", Reason::Protocol)]
    #[case::unavailable(StartTls::Ldap, b"\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\x34\x04\0\x04\0", Reason::Protocol)]
    #[case::huge_ldap(StartTls::Ldap, b"\x30\x84\xff\xff\xff\xff", Reason::Protocol)]
    #[tokio::test]
    async fn what_does_not_lead_to_tls_has_its_reason(
        #[case] protocol: StartTls,
        #[case] says: &[u8],
        #[case] reason: Reason,
    ) {
        assert_eq!(talk(protocol, says).await.0, Err(reason));
    }

    #[rstest]
    #[case(StartTls::Smtp, b"220-on and on\r\n")]
    #[case(StartTls::Ftp, b"220-on and on\r\n and on\r\n")]
    #[case(StartTls::Imap, b"* OK on and on\r\n")]
    #[case(StartTls::Pop3, b"+OK without a line's end ")]
    #[tokio::test]
    async fn a_greeting_without_an_end_ends(#[case] protocol: StartTls, #[case] again: &[u8]) {
        let (ended, _) = talk(protocol, &again.repeat(MAX_ANSWER * 3 / again.len())).await;
        assert_eq!(ended, Err(Reason::Protocol));
    }

    proptest! {
        #[test]
        fn no_answer_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), which in 0usize..7) {
            let all = [StartTls::Smtp, StartTls::Imap, StartTls::Pop3, StartTls::Ftp, StartTls::Postgres, StartTls::Mysql, StartTls::Ldap];
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let _ = runtime.block_on(talk(all[which], &bytes));
            let _ = (mysql_offers_tls(&bytes), ldap_result(&bytes));
        }
    }
}
