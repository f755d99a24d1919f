use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::str::FromStr;

use crate::certificates::Certificates;
use crate::error::{Error, Result};

/// Which server software a lab runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Flavor {
    /// MySQL 9.7.
    #[default]
    Mysql,
    /// MariaDB 10.11.
    Mariadb,
}

impl Flavor {
    /// Both of them, for tests that run on each.
    pub const ALL: [Flavor; 2] = [Flavor::Mysql, Flavor::Mariadb];

    /// `mysql` or `mariadb`, which is also the part for `scripts/setup`.
    pub fn name(self) -> &'static str {
        match self {
            Flavor::Mysql => "mysql",
            Flavor::Mariadb => "mariadb",
        }
    }

    /// The command-line client, not yet told where to connect to, and with no
    /// options of the machine's own.
    pub fn client_command(self) -> Result<Command> {
        let mut command = Command::new(match self {
            Flavor::Mysql => self.installed(mysql_directory().join("bin/mysql"))?,
            Flavor::Mariadb => self.installed(PathBuf::from("/usr/bin/mariadb"))?,
        });
        command.arg("--no-defaults");
        Ok(command)
    }

    pub(crate) fn server_program(self) -> Result<PathBuf> {
        self.installed(match self {
            Flavor::Mysql => mysql_directory().join("bin/mysqld"),
            Flavor::Mariadb => PathBuf::from("/usr/sbin/mariadbd"),
        })
    }

    /// Fills an empty data directory.
    pub(crate) fn initialize_command(self, data: &Path) -> Result<Command> {
        let mut command = match self {
            Flavor::Mysql => {
                let mut command = Command::new(self.server_program()?);
                command.arg("--no-defaults").arg("--initialize-insecure");
                command
            }
            Flavor::Mariadb => {
                let mut command =
                    Command::new(self.installed(PathBuf::from("/usr/bin/mariadb-install-db"))?);
                command.args([
                    "--no-defaults",
                    "--auth-root-authentication-method=normal",
                    "--skip-test-db",
                    "--skip-name-resolve",
                ]);
                command
            }
        };
        command
            .args(self.installation_arguments())
            .arg(option("--datadir", data));
        Ok(command)
    }

    /// Prints the SQL that fills the tables of time zones.
    pub(crate) fn time_zones_command(self) -> Result<Command> {
        let mut command = Command::new(match self {
            Flavor::Mysql => self.installed(mysql_directory().join("bin/mysql_tzinfo_to_sql"))?,
            Flavor::Mariadb => self.installed(PathBuf::from("/usr/bin/mariadb-tzinfo-to-sql"))?,
        });
        command.arg("/usr/share/zoneinfo");
        Ok(command)
    }

    /// Arguments that say where the parts of the installation lie.
    pub(crate) fn installation_arguments(self) -> Vec<OsString> {
        let mut arguments = match self {
            Flavor::Mysql => {
                let root = mysql_directory().join("root/usr");
                vec![
                    option("--basedir", &root),
                    option("--lc-messages-dir", &root.join("share/mysql")),
                    option("--plugin-dir", &root.join("lib/mysql/plugin")),
                    // The default directory does not exist.
                    "--secure-file-priv=".into(),
                ]
            }
            Flavor::Mariadb => {
                let plugins = cache().join("mariadb-10.11/plugin");
                if plugins.exists() {
                    vec![option("--plugin-dir", &plugins)]
                } else {
                    Vec::new()
                }
            }
        };
        if rustix::process::geteuid().is_root() {
            arguments.push("--user=root".into());
        }
        arguments
    }

    /// Arguments that every server of a lab has: small, quick to start, not durable.
    pub(crate) fn server_arguments(self) -> Vec<OsString> {
        let common = [
            "--skip-name-resolve",
            "--bind-address=127.0.0.1",
            "--max-allowed-packet=1G",
            "--max-connections=1000",
            "--back-log=1000",
            "--local-infile=ON",
            "--performance-schema=OFF",
            "--innodb-buffer-pool-size=64M",
            "--innodb-flush-log-at-trx-commit=2",
            "--innodb-doublewrite=OFF",
            "--sync-binlog=0",
        ];
        let own: &[&str] = match self {
            Flavor::Mysql => &[
                "--mysqlx=OFF",
                "--innodb-redo-log-capacity=8M",
                "--log-error-verbosity=2",
            ],
            Flavor::Mariadb => &[
                "--innodb-log-file-size=8M",
                "--innodb-fast-shutdown=1",
                "--log-warnings=1",
            ],
        };
        common.iter().chain(own).map(OsString::from).collect()
    }

    /// Arguments of a server that replicates, or is replicated from.
    pub(crate) fn replication_arguments(self) -> &'static [&'static str] {
        match self {
            Flavor::Mysql => &[
                "--log-bin=binlog",
                "--gtid-mode=ON",
                "--enforce-gtid-consistency=ON",
                "--log-replica-updates=ON",
                "--replica-preserve-commit-order=ON",
                "--relay-log=relay",
            ],
            Flavor::Mariadb => &[
                "--log-bin=binlog",
                "--binlog-format=ROW",
                "--gtid-strict-mode=ON",
                "--log-slave-updates=ON",
                "--relay-log=relay",
            ],
        }
    }

    pub(crate) fn read_only_arguments(self) -> &'static [&'static str] {
        match self {
            Flavor::Mysql => &["--read-only=ON", "--super-read-only=ON"],
            Flavor::Mariadb => &["--read-only=ON"],
        }
    }

    pub(crate) fn tls_arguments(self, certificates: &Certificates) -> [OsString; 3] {
        [
            option("--ssl-ca", &certificates.authority),
            option("--ssl-cert", &certificates.server),
            option("--ssl-key", &certificates.server_key),
        ]
    }

    fn installed(self, path: PathBuf) -> Result<PathBuf> {
        if path.exists() {
            Ok(path)
        } else {
            Err(Error::NotInstalled {
                path,
                part: self.name(),
            })
        }
    }
}

impl fmt::Display for Flavor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl FromStr for Flavor {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Flavor::ALL
            .into_iter()
            .find(|flavor| flavor.name() == name)
            .ok_or_else(|| format!("there is no flavor {name:?}: choose mysql or mariadb"))
    }
}

/// Where `scripts/setup` puts what is no package of the system, and where the
/// templates are kept.
pub(crate) fn cache() -> PathBuf {
    std::env::var_os("ISTHMUS_CACHE")
        .unwrap_or_else(|| "/var/cache/isthmus".into())
        .into()
}

pub(crate) fn option(name: &str, path: &Path) -> OsString {
    let mut option = OsString::from(name);
    option.push("=");
    option.push(path);
    option
}

fn mysql_directory() -> PathBuf {
    cache().join("mysql-9.7")
}
