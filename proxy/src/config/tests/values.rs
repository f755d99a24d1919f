//! What correct files mean.

use std::path::Path;
use std::time::Duration;

use super::super::{
    Address, AuthPlugin, Config, Consistency, IpNet, Limits, Log, OnStale, Pool, Role, Scope,
    Secret, ServerTls, Source, Timeouts,
};
use super::{MINIMAL, parse, with};

#[test]
fn the_minimal_file_takes_every_default() {
    let config = with("");
    assert_eq!(config.region, "virginia");
    assert_eq!(config.workers, 0);
    assert_eq!(config.listen.addresses, ["127.0.0.1:3307".parse().unwrap()]);
    assert_eq!(config.listen.auth_plugin, AuthPlugin::CachingSha2Password);
    assert_eq!(config.users.len(), 1);
    assert_eq!(config.users[0].backend.user, "app");
    assert_eq!(config.users[0].backend.password.expose(), "change-me");
    assert_eq!(config.monitor.credentials, config.users[0].backend);
    assert_eq!(config.pool, Pool::default());
    assert_eq!(config.consistency, Consistency::default());
    assert_eq!(config.timeouts, Timeouts::default());
    assert_eq!(config.limits, Limits::default());
    assert_eq!(config.log, Log::default());
    assert_eq!(config.admin.address, "127.0.0.1:9306".parse().ok());
    assert!(config.reload.watch);
    let writer = config.writer().unwrap();
    assert_eq!((writer.name.as_str(), writer.role), ("tokyo", Role::Writer));
    assert_eq!(writer.tls, ServerTls::Preferred);
    assert_eq!(writer.max_connections, 50);
}

#[test]
fn sections_override_defaults_one_by_one() {
    let config = with(
        "[pool]\nidle_timeout = \"150ms\"\n\
         [consistency]\nsource = \"gtid\"\non_stale = \"wait\"\nmax_wait = \"2h\"\n\
         [limits]\nmax_allowed_packet = \"16KiB\"\n\
         [admin]\naddress = \"off\"\n\
         [routing]\nreader_functions = [\"Price_Of\", \"shop.rate\"]\n",
    );
    assert_eq!(config.pool.idle_timeout, Duration::from_millis(150));
    assert_eq!(config.pool.max_connections, 50);
    assert_eq!(config.consistency.source, Source::Gtid);
    assert_eq!(config.consistency.on_stale, OnStale::Wait);
    assert_eq!(config.consistency.max_wait, Duration::from_secs(7200));
    assert_eq!(config.consistency.scope, Scope::Session);
    assert_eq!(config.limits.max_allowed_packet, 16 * 1024);
    assert_eq!(config.admin.address, None);
    assert_eq!(config.routing.reader_functions, ["price_of", "shop.rate"]);
}

#[test]
fn endpoints_take_tls_and_connections_from_the_common_tables() {
    let config = with(
        "tls = { mode = \"disabled\" }\nmax_connections = 7\n\
         [server_tls]\nmode = \"verify-ca\"\nca = \"roots.pem\"\n\
         [pool]\nmax_connections = 20\n",
    );
    let ca = Path::new("/etc/isthmus/roots.pem").to_owned();
    assert_eq!(config.endpoints[0].tls, ServerTls::VerifyCa { ca });
    assert_eq!(config.endpoints[0].max_connections, 20);
    assert_eq!(config.endpoints[1].tls, ServerTls::Disabled);
    assert_eq!(config.endpoints[1].max_connections, 7);
}

#[test]
fn passwords_come_from_the_file_the_environment_or_a_file_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("secret"), "from a file\r\n").unwrap();
    let text = format!(
        "{MINIMAL}\n\
         [[users]]\nname = \"env\"\npassword_env = \"CARGO_PKG_NAME\"\n\
         backend_user = \"album\"\nbackend_password_file = \"secret\"\n\
         [[users]]\nname = \"file\"\npassword_file = \"secret\"\n\
         auth_plugin = \"mysql_native_password\"\n\
         [monitor]\nuser = \"album\"\n"
    );
    let config = Config::parse(&text, &folder.path().join("isthmus.toml")).unwrap();
    let env = config.user("env").unwrap();
    assert_eq!(env.password.expose(), "isthmus");
    assert_eq!(env.backend.user, "album");
    assert_eq!(env.backend.password.expose(), "from a file");
    let file = config.user("file").unwrap();
    assert_eq!(file.password.expose(), "from a file");
    assert_eq!(file.backend.password.expose(), "from a file");
    assert_eq!(file.auth_plugin, AuthPlugin::MysqlNativePassword);
    assert_eq!(config.monitor.credentials, env.backend);
}

#[test]
fn addresses() {
    let cases = [
        ("db.example.com:3306", Some(("db.example.com", 3306))),
        ("db", Some(("db", 3306))),
        ("10.0.0.1:13306", Some(("10.0.0.1", 13306))),
        ("[::1]:3307", Some(("::1", 3307))),
        ("[::1]", Some(("::1", 3306))),
        ("", None),
        (":3306", None),
        ("db:0", None),
        ("db:65536", None),
        ("db:", None),
        ("::1", None),
        ("[::1", None),
        ("[db]:3306", None),
        ("[::1]3306", None),
        ("d b:3306", None),
        ("mysql://db:3306", None),
    ];
    for (text, expected) in cases {
        let address = text.parse::<Address>().ok();
        let seen = address.as_ref().map(|a| (a.host.as_str(), a.port));
        assert_eq!(seen, expected, "{text}");
    }
    assert_eq!(
        "[::1]".parse::<Address>().unwrap().to_string(),
        "[::1]:3306"
    );
    assert_eq!("db".parse::<Address>().unwrap().to_string(), "db:3306");
}

#[test]
fn networks() {
    let cases = [
        ("10.0.0.0/8", "10.255.0.1", true),
        ("10.0.0.0/8", "11.0.0.1", false),
        ("10.0.0.0/8", "::ffff:10.1.2.3", true),
        ("10.0.0.7", "10.0.0.7", true),
        ("10.0.0.7", "10.0.0.6", false),
        ("0.0.0.0/0", "203.0.113.9", true),
        ("0.0.0.0/0", "::1", false),
        ("fd00::/8", "fd12::1", true),
        ("fd00::/8", "fe80::1", false),
        ("::/0", "::1", true),
    ];
    for (net, address, expected) in cases {
        let net = net.parse::<IpNet>().unwrap();
        assert_eq!(
            net.contains(address.parse().unwrap()),
            expected,
            "{net} {address}"
        );
    }
    for wrong in [
        "",
        "10.0.0.0/33",
        "10.0.0/8",
        "fd00::/129",
        "10.0.0.0/",
        "10.0.0.0/-1",
    ] {
        assert!(wrong.parse::<IpNet>().is_err(), "{wrong}");
    }
}

#[test]
fn secrets_do_not_print() {
    let secret = Secret::new("hush");
    assert_eq!(format!("{secret} {secret:?}"), "******** ********");
    assert_eq!(secret, Secret::new("hush"));
    assert_ne!(secret, Secret::new("hush!"));
}

#[test]
fn the_masked_text_is_a_file_that_means_the_same() {
    let config = with(
        "[listen]\ntls = { certificate = \"/a.pem\", key = \"/k.pem\" }\ntls_required = true\n\
         proxy_protocol = [\"10.0.0.0/8\"]\nserver_version = \"8.0.39\"\n\
         [timeouts]\nshutdown = \"0s\"\n",
    );
    let text = config.masked_toml();
    assert!(!text.contains("change-me"), "{text}");
    let changes = config.diff(&parse(&text).unwrap());
    let sentences: Vec<String> = changes.iter().map(ToString::to_string).collect();
    assert_eq!(
        sentences,
        [
            "user app: password changed",
            "user app: backend_password changed",
            "monitor.password changed"
        ]
    );
}
