use std::ffi::OsString;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use crate::accounts::{APP, Account, MONITOR, REPLICATION, ROOT, SCHEMA};
use crate::certificates::Certificates;
use crate::error::{Error, FileContext as _, Result};
use crate::flavor::{self, Flavor};
use crate::sandbox::Sandbox;
use crate::server::Server;

/// To be increased whenever a template is made differently.
const REVISION: u32 = 2;

/// Data directory and certificates of which every server of a lab gets a copy. Made
/// once for each version of the server software and kept in the cache.
#[derive(Debug, Clone)]
pub(crate) struct Template {
    directory: PathBuf,
}

impl Template {
    /// Finds the template, or makes it.
    pub(crate) async fn find(flavor: Flavor) -> Result<Self> {
        let template = Self {
            directory: flavor::cache().join(format!("template-{flavor}-{:016x}", stamp(flavor)?)),
        };
        if !template.directory.exists() {
            template.make(flavor).await?;
        }
        Ok(template)
    }

    /// Copies the data directory to a place that does not exist yet.
    pub(crate) fn copy_data(&self, target: &Path) -> Result<()> {
        copy_directory(&self.directory.join("data"), target)
    }

    /// Copies the certificates to a place that does not exist yet.
    pub(crate) fn copy_certificates(&self, target: &Path) -> Result<Certificates> {
        copy_directory(&self.directory.join("certificates"), target)?;
        Ok(Certificates::within(target))
    }

    async fn make(&self, flavor: Flavor) -> Result<()> {
        let _lock = lock(&flavor::cache().join("template.lock")).await?;
        if self.directory.exists() {
            return Ok(());
        }

        let sandbox = Sandbox::new()?;
        let made = sandbox.directory().join("template");
        let certificates = made.join("certificates");
        fs::create_dir_all(&certificates).doing("make", &certificates)?;
        Certificates::generate(&certificates)?;
        let data = made.join("data");
        tokio::task::spawn_blocking({
            let mut command = flavor.initialize_command(&data)?;
            move || run(&mut command)
        })
        .await
        .map_err(interrupted)??;
        self.furnish(flavor, &sandbox, &data).await?;
        // Each server is to find its own identity.
        let _ = fs::remove_file(data.join("auto.cnf"));

        // The cache may lie in another file system: only the last step is atomic.
        let beside = self.directory.with_extension("new");
        let _ = fs::remove_dir_all(&beside);
        run(Command::new("cp")
            .args(["-a", "--sparse=always"])
            .arg(&made)
            .arg(&beside))?;
        fs::rename(&beside, &self.directory).doing("make", &self.directory)
    }

    /// Starts a server on the new data directory, makes the accounts, and shuts it down.
    async fn furnish(&self, flavor: Flavor, sandbox: &Arc<Sandbox>, data: &Path) -> Result<()> {
        let mut arguments: Vec<OsString> = flavor.server_arguments();
        arguments.push(
            match flavor {
                Flavor::Mysql => "--disable-log-bin",
                Flavor::Mariadb => "--skip-log-bin",
            }
            .into(),
        );
        let server = Server::launch(
            flavor,
            "template",
            sandbox,
            data.to_owned(),
            arguments,
            Account {
                user: ROOT.user,
                password: "",
            },
            false,
        )
        .await?;
        let time_zones = tokio::task::spawn_blocking({
            let command = flavor.time_zones_command()?;
            move || output(command)
        })
        .await
        .map_err(interrupted)??;
        server
            .execute(format!(
                "USE mysql;\n{}",
                String::from_utf8_lossy(&time_zones)
            ))
            .await?;
        for statement in accounts(flavor) {
            server.execute(statement).await?;
        }
        server.stop().await
    }
}

/// The statements that make the accounts, run as a root without a password; that of
/// root itself comes last.
fn accounts(flavor: Flavor) -> Vec<String> {
    let mut statements = vec![format!("CREATE DATABASE {SCHEMA}")];
    if flavor == Flavor::Mariadb {
        // Anonymous users of localhost would win over the named users of any host, and
        // roots of particular addresses over the root of any.
        statements.push(
            "DELETE FROM mysql.global_priv WHERE User = '' OR (User = 'root' AND Host <> 'localhost')".into(),
        );
        statements.push("FLUSH PRIVILEGES".into());
    }
    for Account { user, password } in [APP, MONITOR, REPLICATION] {
        statements.push(format!("CREATE USER {user}@'%' IDENTIFIED BY '{password}'"));
    }
    statements.push(format!(
        "GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, INDEX, ALTER, REFERENCES, CREATE TEMPORARY TABLES, \
         LOCK TABLES, EXECUTE, CREATE VIEW, SHOW VIEW, CREATE ROUTINE, ALTER ROUTINE, EVENT, TRIGGER, PROCESS, \
         RELOAD, FILE, SHOW DATABASES ON *.* TO {}@'%'",
        APP.user
    ));
    statements.push(match flavor {
        Flavor::Mysql => format!(
            "GRANT PROCESS, REPLICATION CLIENT ON *.* TO {}@'%'",
            MONITOR.user
        ),
        Flavor::Mariadb => format!(
            "GRANT PROCESS, BINLOG MONITOR, REPLICA MONITOR ON *.* TO {}@'%'",
            MONITOR.user
        ),
    });
    statements.push(format!(
        "GRANT SELECT ON {SCHEMA}.* TO {}@'%'",
        MONITOR.user
    ));
    statements.push(format!(
        "GRANT REPLICATION SLAVE ON *.* TO {}@'%'",
        REPLICATION.user
    ));

    let Account { user, password } = ROOT;
    statements.push(format!("CREATE USER {user}@'%' IDENTIFIED BY '{password}'"));
    statements.push(format!("GRANT ALL ON *.* TO {user}@'%' WITH GRANT OPTION"));
    statements.push(format!(
        "ALTER USER {user}@localhost IDENTIFIED BY '{password}'"
    ));
    statements
}

/// Differs between versions of the server software and of the template.
fn stamp(flavor: Flavor) -> Result<u64> {
    let program = match flavor {
        Flavor::Mysql => flavor::cache().join("mysql-9.7/root/usr/sbin/mysqld"),
        Flavor::Mariadb => flavor.server_program()?,
    };
    flavor.server_program()?;
    let about = fs::metadata(&program).doing("look at", &program)?;
    let mut hasher = DefaultHasher::new();
    (REVISION, about.len(), about.modified().ok()).hash(&mut hasher);
    Ok(hasher.finish())
}

/// One process at a time makes a template; the others wait and then find it.
async fn lock(path: &Path) -> Result<File> {
    let path = path.to_owned();
    tokio::task::spawn_blocking(move || {
        let file = File::options()
            .create(true)
            .write(true)
            .truncate(false)
            .open(&path)
            .doing("open", &path)?;
        file.lock().doing("lock", &path)?;
        Ok(file)
    })
    .await
    .map_err(interrupted)?
}

fn run(command: &mut Command) -> Result<()> {
    command.stdout(Stdio::null());
    finish(command).map(drop)
}

/// Makes `target`, which is not there yet, a copy of a directory.
pub(crate) fn copy_directory(directory: &Path, target: &Path) -> Result<()> {
    run(Command::new("cp")
        .args(["-a", "--reflink=auto", "--sparse=always"])
        .arg(directory)
        .arg(target))
}

fn output(mut command: Command) -> Result<Vec<u8>> {
    finish(&mut command)
}

fn finish(command: &mut Command) -> Result<Vec<u8>> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stdin(Stdio::null())
        // Not of the terminal's group: Ctrl-C is for whoever works with the lab.
        .process_group(0)
        .output()
        .map_err(|error| Error::Program {
            program: program.clone(),
            reason: error.to_string(),
        })?;
    if output.status.success() {
        Ok(output.stdout)
    } else {
        Err(Error::Program {
            program,
            reason: format!(
                "{}\n{}",
                output.status,
                String::from_utf8_lossy(&output.stderr)
            ),
        })
    }
}

pub(crate) fn interrupted(error: tokio::task::JoinError) -> Error {
    Error::Program {
        program: "a task of the lab".into(),
        reason: error.to_string(),
    }
}
