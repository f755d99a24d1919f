//! Whether a client is who it says.
//!
//! Nothing that a stranger can measure tells an unknown user from a wrong password: the same
//! packets are exchanged and the same sums are done.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use isthmus_protocol::auth::{self, Plugin, caching_sha2};
use isthmus_protocol::capabilities::Capabilities;
use isthmus_protocol::handshake::{Attributes, AuthMoreData, AuthSwitch, ChangeUser, Login};
use subtle::ConstantTimeEq;

use super::handshake::{Conversation, Refused, bad_handshake};
use super::refusals::RefusalLog;
use crate::config::{AuthPlugin, Config, User};
use crate::error::SqlError;
use crate::relay::Client;
use crate::rsa::RsaKey;
use crate::session::Identity;

/// What logins are checked against.
pub(super) struct Authenticator<'a> {
    pub(super) config: &'a Config,
    pub(super) rsa: &'a RsaKey,
    pub(super) peer: SocketAddr,
    pub(super) refusals: &'a RefusalLog,
}

/// What clients know that can name no plugin.
const OLDEST: Plugin = Plugin::MysqlNativePassword;

/// What a client claims.
struct Claim {
    user: Vec<u8>,
    auth_response: Vec<u8>,
    plugin: Option<String>,
    /// Whether it can be asked by another plugin.
    takes_switch: bool,
}

impl Authenticator<'_> {
    /// Checks a login. The inner error is for the client.
    pub(super) async fn log_in(
        &self,
        conversation: &mut Conversation,
        login: Login,
    ) -> io::Result<Result<Identity, SqlError>> {
        if !login.capabilities.contains(Capabilities::PROTOCOL_41) {
            return Ok(Err(bad_handshake(
                "the client speaks a protocol older than MySQL 4.1",
            )));
        }
        if self.config.listen.tls_required && !conversation.stream.is_tls() {
            return Ok(Err(SqlError::tls_required()));
        }
        let names_plugin = login.capabilities.contains(Capabilities::PLUGIN_AUTH);
        let claim = Claim {
            user: login.user,
            auth_response: login.auth_response,
            plugin: match names_plugin {
                true => login.auth_plugin,
                false => Some(OLDEST.name().into()),
            },
            takes_switch: names_plugin,
        };
        let user = match self.check(conversation, claim).await? {
            Ok(user) => user,
            Err(error) => return Ok(Err(error)),
        };
        Ok(Ok(Identity {
            user,
            database: login.database,
            collation: login.collation,
            capabilities: login.capabilities,
            attributes: self.passed_on(login.attributes),
        }))
    }

    /// Checks COM_CHANGE_USER; `None` if the client was refused and told so.
    pub(super) async fn change_user(
        &self,
        client: Client,
        payload: &[u8],
    ) -> io::Result<Option<(Client, Identity)>> {
        let capabilities = client.capabilities;
        let mut conversation = Conversation {
            stream: client.stream,
            sequence: client.sequence,
            offered: capabilities,
            nonce: client.nonce,
        };
        let change = match ChangeUser::parse(payload, capabilities) {
            Ok(change) => change,
            Err(error) => {
                let error = SqlError::malformed(&error.to_string());
                self.refuse(&mut conversation, b"", &error).await?;
                return Ok(None);
            }
        };
        // As with servers: mysql_native_password goes on with the old nonce, from which libmariadb
        // makes its answer whatever it is told.
        let name = String::from_utf8_lossy(&change.user);
        if self.plugin(self.config.user(&name)) == Plugin::CachingSha2Password {
            let mut random = [0; 20];
            aws_lc_rs::rand::fill(&mut random).map_err(io::Error::other)?;
            conversation.nonce = auth::nonce_from_random(random);
        }
        // Servers ask anew whatever came with the command, where the client can be asked.
        let takes_switch = capabilities.contains(Capabilities::PLUGIN_AUTH);
        let claim = Claim {
            user: change.user.clone(),
            auth_response: change.auth_response,
            plugin: (!takes_switch).then(|| OLDEST.name().into()),
            takes_switch,
        };
        match self.check(&mut conversation, claim).await? {
            Ok(user) => {
                let identity = Identity {
                    user,
                    database: change.database,
                    collation: change.collation,
                    capabilities,
                    attributes: self.passed_on(change.attributes),
                };
                Ok(Some((conversation.into_client(capabilities), identity)))
            }
            Err(error) => {
                self.refuse(&mut conversation, &change.user, &error).await?;
                Ok(None)
            }
        }
    }

    /// Tells a client why it is refused, and the log who it was. `user` is whom it claims to be.
    pub(super) async fn refuse(
        &self,
        conversation: &mut Conversation,
        user: &[u8],
        error: &SqlError,
    ) -> io::Result<()> {
        self.refusals.note(self.peer, user, error);
        conversation.send_error(error).await
    }

    /// The attributes that are shown to the servers, each once and in the order of the
    /// configuration, so that clients with the same ones share connections.
    fn passed_on(&self, attributes: Attributes) -> Attributes {
        let given = |wanted: &String| {
            let mut given = attributes.iter();
            given.find(|(name, _)| name == wanted.as_bytes()).cloned()
        };
        let wanted = &self.config.pool.connection_attributes;
        wanted.iter().filter_map(given).collect()
    }

    async fn check(
        &self,
        conversation: &mut Conversation,
        claim: Claim,
    ) -> io::Result<Result<Arc<User>, SqlError>> {
        let name = String::from_utf8_lossy(&claim.user).into_owned();
        let known = self.config.user(&name);
        let plugin = self.plugin(known);
        // A user that does not exist has a password that nobody can type.
        let password = known.map_or(&b"\xff\0nobody\0\xff"[..], |user| {
            user.password.expose().as_bytes()
        });
        let has_password;
        let is_right = match self.prove(conversation, &claim, plugin, password).await {
            Ok(proof) => {
                has_password = proof.has_password;
                proof.is_right
            }
            Err(Refused::Told(error)) => return Ok(Err(error)),
            Err(Refused::Gone(error)) => return Err(error),
        };
        match known {
            Some(user) if is_right => Ok(Ok(Arc::new(user.clone()))),
            _ => Ok(Err(SqlError::access_denied(
                &name,
                &self.peer.ip().to_string(),
                has_password,
            ))),
        }
    }

    /// How this user proves its password; a user that does not exist does so as most.
    fn plugin(&self, known: Option<&User>) -> Plugin {
        plugin(known.map_or(self.config.listen.auth_plugin, |user| user.auth_plugin))
    }

    /// Lets the client prove that it knows the password.
    async fn prove(
        &self,
        conversation: &mut Conversation,
        claim: &Claim,
        plugin: Plugin,
        password: &[u8],
    ) -> Result<Proof, Refused> {
        let response = if claim.plugin.as_deref() == Some(plugin.name()) {
            claim.auth_response.clone()
        } else if !claim.takes_switch {
            return Err(Refused::Told(SqlError::client_too_old()));
        } else {
            let mut payload = Vec::new();
            AuthSwitch::with_nonce(plugin.name(), &conversation.nonce).encode(&mut payload);
            conversation.send(&payload).await?;
            conversation.receive().await?
        };
        let has_password = !auth::without_nul(&response).is_empty();
        // An empty password is answered with nothing, or with a NUL.
        let response = if has_password {
            response.as_slice()
        } else {
            &[]
        };
        let is_right = auth::verify(plugin, password, &conversation.nonce, response);
        if plugin == Plugin::CachingSha2Password && has_password {
            if is_right {
                more_data(conversation, &[caching_sha2::FAST_AUTH_OK]).await?;
            } else {
                // As a server whose cache does not know the user: the password itself decides.
                return self.prove_in_full(conversation, password).await;
            }
        }
        Ok(Proof {
            is_right,
            has_password,
        })
    }

    /// The full exchange of caching_sha2_password: the password over TLS, or hidden with the
    /// public key.
    async fn prove_in_full(
        &self,
        conversation: &mut Conversation,
        password: &[u8],
    ) -> Result<Proof, Refused> {
        more_data(conversation, &[caching_sha2::FULL_AUTH]).await?;
        let mut answer = conversation.receive().await?;
        if !conversation.stream.is_tls() {
            if answer == [caching_sha2::REQUEST_PUBLIC_KEY] {
                more_data(conversation, self.rsa.public_pem().as_bytes()).await?;
                answer = conversation.receive().await?;
            }
            // Clear text without TLS is taken from nobody.
            let hidden = self.rsa.decrypt(&answer).unwrap_or_default();
            answer = auth::xor_with_nonce(&hidden, &conversation.nonce);
        }
        let given = auth::without_nul(&answer);
        let is_right = !given.is_empty() && bool::from(given.ct_eq(password));
        Ok(Proof {
            is_right,
            has_password: true,
        })
    }
}

struct Proof {
    is_right: bool,
    has_password: bool,
}

async fn more_data(conversation: &mut Conversation, data: &[u8]) -> io::Result<()> {
    let mut payload = Vec::new();
    AuthMoreData { data }.encode(&mut payload);
    conversation.send(&payload).await
}

/// The plugin of the protocol that the configuration speaks of.
pub(super) fn plugin(configured: AuthPlugin) -> Plugin {
    match configured {
        AuthPlugin::CachingSha2Password => Plugin::CachingSha2Password,
        AuthPlugin::MysqlNativePassword => Plugin::MysqlNativePassword,
    }
}
