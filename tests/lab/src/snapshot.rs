use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::error::{FileContext as _, Result};
use crate::server::Server;
use crate::template::{copy_directory, interrupted};

/// What the next server that is brought back has as its server_id.
static NEXT_ID: AtomicU32 = AtomicU32::new(100);

/// A copy of a server's data, made while it was down.
#[derive(Debug)]
pub struct Snapshot {
    server: String,
    copy: PathBuf,
}

impl Snapshot {
    /// Stops a server, copies its data, and starts it again.
    pub async fn take(server: &Server) -> Result<Self> {
        let copy = server.data_directory().with_extension("snapshot");
        server.stop().await?;
        replace(server.data_directory(), &copy).await?;
        server.start().await?;
        Ok(Self {
            server: server.name().to_owned(),
            copy,
        })
    }

    /// Whether it is one of this server.
    pub fn is_of(&self, server: &Server) -> bool {
        self.server == server.name()
    }

    /// Ends the server as a crash would and starts it on the data of then: as another server to
    /// replication, which would otherwise leave out what it has written itself since, were it the
    /// writer for a while (and with MariaDB the server would say that it had that).
    pub async fn bring_back(&self, server: &Server) -> Result<()> {
        server.kill();
        replace(&self.copy, server.data_directory()).await?;
        server.set_id(NEXT_ID.fetch_add(1, Ordering::Relaxed));
        server.start().await
    }
}

/// Makes `target` a copy of a directory.
async fn replace(directory: &Path, target: &Path) -> Result<()> {
    let (directory, target) = (directory.to_owned(), target.to_owned());
    let replacing = move || {
        if target.exists() {
            fs::remove_dir_all(&target).doing("remove", &target)?;
        }
        copy_directory(&directory, &target)
    };
    tokio::task::spawn_blocking(replacing)
        .await
        .map_err(interrupted)?
}
