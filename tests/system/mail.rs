//! A mail server for tests, as far as alerts need one.

use crate::receivers::{Answer, Heard, LIMIT, Message, Server, hear};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::sync::Mutex;

/// One that is under way.
pub fn server() -> Server {
    Server::start(0, speak_smtp)
}

fn speak_smtp(stream: TcpStream, heard: &Mutex<Heard>) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let mut writer = stream;
    let mut say = |line: &str| write!(writer, "{line}\r\n");
    say("220 here.example")?;
    let mut envelope = Vec::new();
    while let Some(line) = lines.next().transpose()? {
        match line.split([' ', ':']).next().unwrap_or_default().to_uppercase().as_str() {
            "EHLO" => say("250-here.example\r\n250 AUTH PLAIN")?,
            "AUTH" => {
                envelope.push(line);
                say("235 welcome")?;
            }
            "MAIL" | "RCPT" => {
                envelope.push(line);
                say("250 ok")?;
            }
            "DATA" => {
                say("354 go on")?;
                let text: Vec<String> = lines.by_ref().map_while(Result::ok).take_while(|line| line != ".").collect();
                let mut parts = text.split(String::is_empty);
                let headers = unfolded(parts.next().unwrap_or_default());
                let body = parts.map(|part| part.join("\n")).collect::<Vec<_>>().join("\n\n");
                match hear(heard, Message { envelope: std::mem::take(&mut envelope).join("; "), headers, body }) {
                    Answer::Silence => std::thread::sleep(LIMIT),
                    Answer::Status(0) => say("250 queued")?,
                    Answer::Status(code) => say(&format!("{code} told you so"))?,
                }
            }
            "QUIT" => return say("221 bye"),
            _ => say("250 ok")?,
        }
    }
    Ok(())
}

/// Headers of a mail, those of several lines on one.
fn unfolded(lines: &[String]) -> Vec<String> {
    let mut headers: Vec<String> = Vec::new();
    for line in lines {
        match headers.last_mut() {
            Some(last) if line.starts_with([' ', '\t']) => *last = format!("{last} {}", line.trim_start()),
            _ => headers.push(line.clone()),
        }
    }
    headers
}
