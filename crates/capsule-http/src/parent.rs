//! The end of a child process of a server of functions: it tells that server. Only a hint, the server looks for itself.

use std::time::Duration;

use crate::faas::config::Parent;

/// The end of a process does not wait longer for its parent.
const PATIENCE: Duration = Duration::from_secs(1);

/// Tells the parent that this server stops. A parent that is away is told nothing.
pub(crate) async fn tell(parent: &Parent) {
    let Parent { endpoint, name, revision, .. } = parent;
    let client = reqwest::Client::builder().no_proxy().timeout(PATIENCE).redirect(reqwest::redirect::Policy::none());
    let told = match client.build() {
        Ok(client) => client.post(format!("{endpoint}/notify/{name}/{revision}")).send().await,
        Err(error) => Err(error),
    };
    match told {
        Ok(answer) => tracing::debug!("the server of this function was told: {}", answer.status()),
        Err(error) => tracing::debug!("the server of this function could not be told: {}", error.without_url()),
    }
}
