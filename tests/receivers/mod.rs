//! Receivers of alerts for tests: servers that keep what they were told, and answer as they are asked to.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// No alert takes so long, with everything that is wrong in these tests.
pub const LIMIT: Duration = Duration::from_secs(180);

/// What a server does with a message.
#[derive(Clone, Debug)]
pub enum Answer {
    /// The status of HTTP, the reply of SMTP to a mail's end.
    Status(u16),
    /// It takes the message and never says so.
    Silence,
}

/// One message as it arrived.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// The line of the request; of a mail who it is from and for, and as whom the client came.
    pub envelope: String,
    /// The headers, a line each.
    pub headers: Vec<String>,
    /// What follows them.
    pub body: String,
}

impl Message {
    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        let lines = self.headers.iter().filter_map(|line| line.split_once(':'));
        lines.filter(|(header, _)| header.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).next()
    }

    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

/// What a server was told, and how it is to answer.
#[derive(Default)]
pub struct Heard {
    messages: Vec<Message>,
    answers: VecDeque<Answer>,
}

/// A server under way, until the test ends.
pub struct Server {
    pub port: u16,
    heard: Arc<Mutex<Heard>>,
}

/// A connection, from its beginning to its end.
pub type Speak = fn(TcpStream, &Mutex<Heard>) -> std::io::Result<()>;

impl Server {
    /// One that speaks HTTP, at a port of its own.
    pub fn http() -> Self {
        Self::http_at(0)
    }

    /// The same, where nobody listened until now.
    pub fn http_at(port: u16) -> Self {
        Self::start(port, speak_http)
    }

    /// One that speaks as it is told; at a port of its own for 0.
    pub fn start(port: u16, speak: Speak) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let heard: Arc<Mutex<Heard>> = Arc::default();
        let hears = Arc::clone(&heard);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let hears = Arc::clone(&hears);
                // A client that goes away in the middle is none of our business.
                std::thread::spawn(move || drop(speak(stream, &hears)));
            }
        });
        Self { port, heard }
    }

    /// How the next messages are answered, one after the other; those after them well.
    pub fn answer(&self, answers: &[Answer]) {
        self.heard.lock().unwrap().answers.extend(answers.iter().cloned());
    }

    /// What has arrived so far.
    pub fn messages(&self) -> Vec<Message> {
        self.heard.lock().unwrap().messages.clone()
    }

    /// Waits until so many have arrived.
    pub fn comes_to(&self, n: usize) -> Vec<Message> {
        self.wait(n, || self.messages())
    }

    /// Waits until there are so many of what is `found`.
    fn wait<T>(&self, n: usize, found: impl Fn() -> Vec<T>) -> Vec<T> {
        let since = Instant::now();
        loop {
            let all = found();
            if all.len() >= n {
                return all;
            }
            assert!(since.elapsed() < LIMIT, "{n} messages never arrive, but {:#?}", self.messages());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits for a message in JSON that is `wanted`.
    pub fn hears(&self, wanted: impl Fn(&serde_json::Value) -> bool) -> serde_json::Value {
        self.hears_again(1, wanted).remove(0)
    }

    /// Waits for so many of them.
    pub fn hears_again(&self, times: usize, wanted: impl Fn(&serde_json::Value) -> bool) -> Vec<serde_json::Value> {
        self.wait(times, || self.messages().iter().map(Message::json).filter(|told| wanted(told)).collect())
    }
}

/// Keeps a message, and says how it is to be answered.
pub fn hear(heard: &Mutex<Heard>, message: Message) -> Answer {
    let mut heard = heard.lock().unwrap();
    heard.messages.push(message);
    heard.answers.pop_front().unwrap_or(Answer::Status(0))
}

/// One request, and its answer.
pub fn speak_http<S: Read + Write>(stream: S, heard: &Mutex<Heard>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut envelope = String::new();
    reader.read_line(&mut envelope)?;
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line == "\r\n" {
            break;
        }
        headers.push(line.trim_end().to_owned());
    }
    let mut message = Message { envelope: envelope.trim_end().to_owned(), headers, body: String::new() };
    let length = message.header("Content-Length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    message.body = String::from_utf8(body).unwrap();
    match hear(heard, message) {
        Answer::Silence => std::thread::sleep(LIMIT),
        Answer::Status(status) => {
            let status = if status == 0 { 200 } else { status };
            let words = "told you so";
            write!(reader.get_mut(), "HTTP/1.1 {status} Whatever\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{words}", words.len())?;
        }
    }
    Ok(())
}
