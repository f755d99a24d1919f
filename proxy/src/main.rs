//! The command line.

use std::io::{IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use isthmus::config::{Config, Credentials, LogFormat, Secret};
use isthmus::server::Server;
use isthmus::sql::Dialect;
use isthmus::tls;
use isthmus::topology::Snapshot;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, reload};

/// Isthmus: a MySQL proxy for databases that span regions.
///
/// Applications connect to it with their usual driver. Reads are answered by the reader in the
/// proxy's own region, writes go to the writer in another one, and a session always reads what it
/// has written.
#[derive(Parser)]
#[command(version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the proxy.
    ///
    /// SIGHUP reads the configuration again; SIGTERM stops accepting clients, lets transactions
    /// finish and exits; a second SIGTERM exits at once.
    Serve {
        /// The configuration file, in TOML.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Validate a configuration and print what it comes to, with secrets masked.
    ///
    /// Exits with 1 if it does not validate, and says where and what would be right.
    Check {
        /// The configuration file, in TOML.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Make the heartbeat table on the writer, and print the rights that are needed.
    ///
    /// Runs the same statements however often it is called. Where the login may not make the
    /// table, it prints them for somebody who may, and exits with 1.
    Setup {
        /// The configuration file, in TOML.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// The MySQL user that makes the table; without it, the monitoring user.
        #[arg(long, value_name = "NAME", requires = "password_env")]
        user: Option<String>,
        /// The environment variable with that user's password.
        #[arg(long, value_name = "VARIABLE", requires = "user")]
        password_env: Option<String>,
    },
    /// Tell where statements would go, and why.
    ///
    /// The same code decides as for clients. Without a configuration: a writer and a reader, and a
    /// session that has just begun.
    Explain {
        /// A configuration file, for its routing settings.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Print JSON: an array with one object per statement.
        #[arg(long)]
        json: bool,
        /// One or more statements; `-` reads them from standard input.
        #[arg(value_name = "SQL")]
        sql: String,
    },
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Serve { config } => serve(&config),
        Command::Check { config } => check(&config),
        Command::Setup {
            config,
            user,
            password_env,
        } => setup(&config, user.zip(password_env)),
        Command::Explain { config, json, sql } => explain(config.as_deref(), json, &sql),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("isthmus: {error}");
            ExitCode::FAILURE
        }
    }
}

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn check(path: &Path) -> Outcome {
    print(&load(path)?.masked_toml())
}

/// A configuration that a proxy can be started with.
fn load(path: &Path) -> Result<Config, Box<dyn std::error::Error>> {
    let config = Config::load(path)?;
    // What the files hold that it names.
    let check = || {
        let tls = config.listen.tls.as_ref();
        tls.map(tls::server_config).transpose()?;
        Snapshot::build(&config, &Snapshot::default())
    };
    check().map_err(|error| error.in_config(path))?;
    Ok(config)
}

fn setup(path: &Path, login: Option<(String, String)>) -> Outcome {
    let config = Config::load(path)?;
    let login = match login {
        Some((user, variable)) => {
            let password = std::env::var(&variable)
                .map_err(|error| format!("environment variable {variable}: {error}"))?;
            Credentials {
                user,
                password: Secret::new(password),
            }
        }
        None => config.monitor.credentials.clone(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let report = runtime.block_on(isthmus::setup::setup(&config, &login))?;
    print(&report)
}

fn explain(config: Option<&Path>, json: bool, sql: &str) -> Outcome {
    let functions = match config {
        Some(path) => Config::load(path)?.routing.reader_functions,
        None => Vec::new(),
    };
    let mut input = Vec::new();
    if sql == "-" {
        std::io::stdin().read_to_end(&mut input)?;
    } else {
        input.extend_from_slice(sql.as_bytes());
    }
    let explained = isthmus::explain::explain(&input, Dialect::default(), &functions);
    if json {
        print(&(serde_json::to_string_pretty(&explained)? + "\n"))
    } else {
        print(&isthmus::explain::text(&explained))
    }
}

/// Writes to standard output. A reader that has seen enough, such as `head`, is no error.
fn print(text: &str) -> Outcome {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        result => Ok(result?),
    }
}

fn serve(path: &Path) -> Outcome {
    let config = load(path)?;
    let set_log_level = start_log(&config)?;
    let workers = match config.workers {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        workers => workers,
    };
    let mut runtime = if workers == 1 {
        tokio::runtime::Builder::new_current_thread()
    } else {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        runtime.worker_threads(workers);
        runtime
    };
    runtime
        .enable_all()
        .build()?
        .block_on(run(config, path, set_log_level))
}

async fn run(
    config: Config,
    path: &Path,
    set_log_level: impl Fn(&str) + Send + Sync + 'static,
) -> Outcome {
    let mut hang_up = signal(SignalKind::hangup())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let server = Server::start(config, Some(path.to_owned()), set_log_level).await?;
    for address in server.addresses() {
        tracing::info!(%address, "serving clients");
    }
    if let Some(address) = server.admin_address() {
        tracing::info!(%address, "serving status");
    }
    loop {
        tokio::select! {
            // The outcome is in the log.
            _ = hang_up.recv() => drop(server.reload().await),
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
    }
    tracing::info!("stopping: open transactions may finish, a second signal stops at once");
    tokio::select! {
        () = server.shutdown() => {}
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopped");
    Ok(())
}

/// Starts the log, on standard error; returns what changes its level.
fn start_log(
    config: &Config,
) -> Result<impl Fn(&str) + Send + Sync + 'static, Box<dyn std::error::Error>> {
    let filter = EnvFilter::try_new(&config.log.level)?;
    let (filter, handle) = reload::Layer::<EnvFilter, Registry>::new(filter);
    let lines = tracing_subscriber::fmt::layer()
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    let lines = match config.log.format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().boxed(),
    };
    tracing_subscriber::registry()
        .with(filter)
        .with(lines)
        .init();
    Ok(move |level: &str| {
        if let Ok(filter) = EnvFilter::try_new(level) {
            // Fails only after the log is gone.
            let _ = handle.reload(filter);
        }
    })
}
