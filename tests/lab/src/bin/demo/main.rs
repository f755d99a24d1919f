//! The demo: two regions on this machine with an ocean between them, Isthmus in front, and a
//! guided session that shows where each statement goes and what it costs.

mod album;
mod explain;
mod general_log;
mod guide;
mod screen;

use std::error::Error;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use isthmus_lab::{APP, Flavor, Lab, Options, Proxy, ProxyAddresses, Relay, SCHEMA, proxy_binary};
use tokio::signal::unix::{Signal, SignalKind, signal};

use guide::{Account, Guide, Seen, Watch};
use screen::{Screen, Style, shortened};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// How often the servers' logs are read for what passes after the guided session.
const GLANCE: Duration = Duration::from_millis(100);

/// The exit status of a demo that was interrupted before it had shown everything.
const INTERRUPTED: u8 = 130;

/// Starts two regions and Isthmus between them, and shows where statements go.
#[derive(Debug, Parser)]
#[command(name = "demo")]
struct Arguments {
    /// End after the guided session; the exit status is 0 if every statement went where it should.
    #[arg(long)]
    once: bool,

    /// The servers: mysql or mariadb.
    #[arg(long, default_value = "mysql")]
    flavor: Flavor,

    /// Milliseconds to the writer's region and back.
    #[arg(long, value_name = "MS", default_value_t = 150)]
    round_trip: u64,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("demo: {error}");
            let mut cause = error.source();
            while let Some(error) = cause {
                eprintln!("  because: {error}");
                cause = error.source();
            }
            ExitCode::FAILURE
        }
    }
}

/// Ctrl-C, and the other ways in which a demo is asked to end.
struct Interrupts([Signal; 3]);

impl Interrupts {
    fn new() -> std::io::Result<Self> {
        Ok(Self([
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
            signal(SignalKind::hangup())?,
        ]))
    }

    async fn next(&mut self) {
        let [interrupt, terminate, hang_up] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hang_up.recv() => {}
        }
    }
}

/// What runs while the demo does.
struct Stage {
    /// Ends before its servers do.
    proxy: Proxy,
    /// The way to the writer past Isthmus.
    direct: Relay,
    lab: Lab,
}

async fn run(arguments: &Arguments) -> Outcome<ExitCode> {
    let screen = Screen::new();
    let mut interrupts = Interrupts::new()?;
    let guided = async {
        let stage = set_up(arguments).await?;
        let mut guide = Guide {
            lab: &stage.lab,
            proxy: stage.proxy.address(),
            direct: &stage.direct,
            screen,
            watch: Watch::new(&stage.lab),
        };
        let first = guide.warm_up().await?;
        println!(
            "A first session made Isthmus connect to the writer, which took {:.0} ms. Later sessions share that connection.",
            first.as_secs_f64() * 1000.0
        );
        let account = guide.run(&proxy_binary()?, stage.proxy.config()).await?;
        let watch = guide.watch;
        Ok::<_, Box<dyn Error>>((stage, watch, account))
    };
    let (stage, watch, account) = tokio::select! {
        outcome = guided => outcome?,
        () = interrupts.next() => return Ok(ExitCode::from(INTERRUPTED)),
    };
    let code = conclude(screen, &account);
    if arguments.once {
        return Ok(code);
    }
    invite(screen, &stage.lab, &stage.proxy);
    tokio::select! {
        outcome = watch_on(screen, watch) => outcome?,
        () = interrupts.next() => {}
    }
    Ok(code)
}

/// Starts the servers, the links and Isthmus.
async fn set_up(arguments: &Arguments) -> Outcome<Stage> {
    let round_trip = Duration::from_millis(arguments.round_trip);
    // Replication takes half a round trip, and some time of its own.
    let lag = round_trip / 2 + Duration::from_millis(300);
    println!(
        "Starting two {} servers: the writer in Tokyo, {} ms away and back; a reader next door in Virginia, {} ms behind …",
        arguments.flavor,
        round_trip.as_millis(),
        lag.as_millis()
    );
    let start = Instant::now();
    let lab = Lab::start(Options {
        flavor: arguments.flavor,
        round_trip,
        arguments: vec![
            "--general-log=ON".into(),
            "--log-output=FILE".into(),
            format!("--general-log-file={}", general_log::FILE),
        ],
        ..Options::default()
    })
    .await?;
    lab.writer().execute(album::FURNISHING.join("; ")).await?;
    lab.wait_caught_up().await?;
    lab.delay_replication(lag).await?;
    let direct = Relay::start(lab.writer().address(), round_trip)?;
    let proxy = Proxy::start(lab.sandbox(), |addresses| configuration(&lab, addresses)).await?;
    println!(
        "Isthmus runs in Virginia, in front of both. That took {:.1} s.",
        start.elapsed().as_secs_f64()
    );
    Ok(Stage { proxy, direct, lab })
}

/// The configuration that the demo gives to Isthmus.
fn configuration(lab: &Lab, addresses: ProxyAddresses) -> String {
    format!(
        r#"# The demo's configuration. Change and save it: Isthmus reads it again.
{}
[consistency]
on_stale = "writer"          # the guide shows where a pinned read goes; "fastest" may wait
"#,
        isthmus_lab::configuration(lab, addresses)
    )
}

fn conclude(screen: Screen, account: &Account) -> ExitCode {
    let is_right = account.faults.is_empty();
    let style = if is_right { Style::Title } else { Style::Wrong };
    println!("\n{}", screen.paint(style, &account.summary()));
    for fault in &account.faults {
        println!("  {fault}");
    }
    if is_right {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Tells how to connect.
fn invite(screen: Screen, lab: &Lab, proxy: &Proxy) {
    let address: SocketAddr = proxy.address();
    let (host, port) = (address.ip(), address.port());
    let (user, password) = (APP.user, APP.password);
    let options =
        format!("--host={host} --port={port} --user={user} --password={password} {SCHEMA}");
    println!("\n{}", screen.paint(Style::Title, "Now it is your turn"));
    println!("  Connect with any MySQL client, driver or framework:");
    println!("    host {host}   port {port}   user {user}   password {password}   schema {SCHEMA}");
    println!("    mysql {options}");
    println!("    mysql://{user}:{password}@{host}:{port}/{SCHEMA}");
    if let Ok(client) = lab.flavor().client_command() {
        let program = client.get_program().to_string_lossy();
        println!("  Without a client of your own:");
        println!("    {program} {options}");
    }
    println!("  Metrics: http://{}/metrics", proxy.admin_address());
    println!(
        "  Configuration, read again when it is saved: {}",
        proxy.config().display()
    );
    println!(
        "  Whatever the servers are asked now is shown here. Ctrl-C ends the demo and leaves nothing behind.\n"
    );
}

/// Shows what the servers are asked, until somebody ends it.
async fn watch_on(screen: Screen, mut watch: Watch) -> Outcome<()> {
    watch.news()?;
    loop {
        tokio::time::sleep(GLANCE).await;
        let (writer, reader) = watch.news()?;
        for (seen, entries) in [(Seen::Writer, writer), (Seen::Reader, reader)] {
            for entry in entries {
                let what = format!("{} {}", entry.command, entry.text);
                println!(
                    "  {} {}",
                    screen.paint(seen.style(), &format!("{:<9}", seen.name())),
                    shortened(&what, 100)
                );
            }
        }
    }
}
