//! The helper that runs a proxy, tried with a stand-in for it.

#![allow(clippy::unwrap_used)]

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::{fs, io};

use isthmus_lab::{Error, Proxy, Result, Sandbox};

/// Its configuration is the port alone.
const STAND_IN: &str = r#"#!/usr/bin/python3
import signal, socket, sys
port = int(open(sys.argv[3]).read())
if port == 0:
    sys.exit("there is no such port")
signal.signal(signal.SIGHUP, lambda *_: print("reloaded:", open(sys.argv[3]).read(), flush=True))
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
listener = socket.create_server(("127.0.0.1", port))
while True:
    signal.pause()
"#;

#[tokio::test]
async fn a_proxy_is_started_reloaded_and_ended() -> Result<()> {
    let sandbox = Sandbox::new()?;
    let program = stand_in(&sandbox).unwrap();
    let proxy = Proxy::start_program(&program, &sandbox, |addresses| {
        addresses.listen.port().to_string()
    })
    .await?;
    assert!(isthmus_lab::is_listening(proxy.address().port()));
    proxy.reload("other")?;
    proxy.logged("reloaded: other").await?;
    assert!(proxy.ended().is_none());
    assert!(proxy.terminate().await?.success());

    let proxy = Proxy::start_program(&program, &sandbox, |addresses| {
        addresses.listen.port().to_string()
    })
    .await?;
    let port = proxy.address().port();
    drop(proxy);
    assert!(!isthmus_lab::is_listening(port));
    Ok(())
}

#[tokio::test]
async fn a_proxy_that_cannot_start_says_why() -> Result<()> {
    let sandbox = Sandbox::new()?;
    let program = stand_in(&sandbox).unwrap();
    let error = Proxy::start_program(&program, &sandbox, |_| "0".into())
        .await
        .unwrap_err();
    match error {
        Error::Ended { log, .. } => assert_eq!(log, "there is no such port"),
        other => panic!("{other}"),
    }
    Ok(())
}

fn stand_in(sandbox: &Sandbox) -> io::Result<PathBuf> {
    let program = sandbox.directory().join("stand-in");
    fs::write(&program, STAND_IN)?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    Ok(program)
}
