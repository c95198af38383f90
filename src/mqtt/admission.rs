//! From a CONNECT to what its client may do: credentials checked, policy bound, connecting allowed.

use std::sync::Arc;

use super::broker::Shared;
use super::credentials::{LoginError, Proof};
use super::error::{Reason, Violation};
use super::listener::Caller;
use super::packet::Connect;
use super::rights::{Client, Rights};

/// Decides who `caller` is and whether it may connect as it wants to. What a certificate or a signed URL
/// has proved goes before a user name: AWS's SDKs put statistics there.
///
/// # Errors
/// When it proves nothing and has to, proves to be somebody else, or may not do what its CONNECT asks for.
pub(crate) async fn admit(
    broker: &Shared,
    caller: &Caller,
    connect: &mut Connect,
) -> Result<Rights, Violation> {
    let rights = prove(broker, caller, connect).await?;
    if !rights.may_connect(&connect.client_id) {
        let what = format!("this client may not connect with the client id {:?}", connect.client_id);
        return Err(Violation::new(Reason::NotAuthorized, what));
    }
    if let Some(will) = &mut connect.will {
        if !rights.may_publish(will.topic.as_str(), will.retain) {
            let what = format!("this client may not leave a will for {:?}", will.topic.as_str());
            return Err(Violation::new(Reason::NotAuthorized, what));
        }
        will.origin.principal = rights.principal.clone();
    }
    Ok(rights)
}

async fn prove(broker: &Shared, caller: &Caller, connect: &mut Connect) -> Result<Rights, Violation> {
    let door = &caller.door;
    let password = connect.password.take();
    let client = Client {
        client_id: &connect.client_id,
        address: caller.address,
        encrypted: door.tls.is_some(),
        name: None,
        certificate: None,
        persistent: connect.session_expiry_seconds > 0,
        will: connect.will.is_some(),
    };
    match &caller.proof {
        Proof::Key(key) => {
            let client = Client { name: Some(&key.name), ..client };
            return Ok(Rights::of(&key.policy, &client, Arc::clone(&key.name)));
        }
        Proof::Certificate(certificate) => {
            if let Some(policy) = &door.certificates {
                let client = Client { certificate: Some(certificate), ..client };
                return Ok(Rights::of(policy, &client, certificate.id.as_str().into()));
            }
        }
        Proof::Nothing => {}
    }
    if let Some(name) = connect.user_name.as_deref().filter(|_| door.logins.has_users()) {
        return match door.logins.check(name, password.unwrap_or_default(), caller.address).await {
            Ok(user) => {
                let client = Client { name: Some(&user.name), ..client };
                Ok(Rights::of(&user.policy, &client, Arc::clone(&user.name)))
            }
            Err(LoginError::Wrong) => {
                broker.tally.logins_failed.add_one();
                Err(Violation::new(Reason::BadUserNameOrPassword, "the user name or the password is wrong"))
            }
            Err(LoginError::Crowded) => {
                let what = "too many logins from this address are being checked";
                Err(Violation::new(Reason::ServerBusy, what))
            }
        };
    }
    if door.anonymous {
        return Ok(Rights::default());
    }
    broker.tally.logins_failed.add_one();
    let what = "this listener takes no clients that do not prove who they are";
    Err(Violation::new(Reason::NotAuthorized, what))
}
