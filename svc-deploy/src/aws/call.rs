//! Calls in AWS's own JSON: what `x-svc.patch` says may be newer than the SDK's types. Signing, retries and errors are the SDK's.

use std::sync::{Arc, Mutex, PoisonError};

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::AfterDeserializationInterceptorContextRef;
use aws_smithy_runtime_api::client::interceptors::{Intercept, dyn_dispatch_hint};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::config_bag::ConfigBag;
use serde_json::Value;

/// Returns what sends this JSON instead of the body that the SDK made: `call.customize().mutate_request(with_body(&request))`.
pub fn with_body(request: &Value) -> impl Fn(&mut HttpRequest) + Send + Sync + 'static {
    let text = request.to_string();
    move |http| {
        http.headers_mut().insert("content-length", text.len().to_string());
        *http.body_mut() = SdkBody::from(text.as_str());
    }
}

/// Keeps the JSON of a call's last answer: `call.customize().interceptor(answer.clone())`.
#[derive(Debug, Clone, Default)]
pub struct Answer(Arc<Mutex<Value>>);

impl Answer {
    /// Returns the JSON; `null` before the answer came, and for one that is no JSON.
    pub fn json(&self) -> Value {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[dyn_dispatch_hint]
impl Intercept for Answer {
    fn name(&self) -> &'static str {
        "ecs-pipe answer"
    }

    // Only then has the SDK read the whole body into memory.
    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let json = context.response().body().bytes().and_then(|bytes| serde_json::from_slice(bytes).ok());
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = json.unwrap_or_default();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use aws_sdk_ecs::config::{BehaviorVersion, Credentials, Region};
    use serde_json::json;

    use super::*;

    /// Answers one call with this JSON and returns the body of the request.
    fn serve(listener: &TcpListener, answer: &str) -> Value {
        let (mut stream, _) = listener.accept().unwrap();
        let (mut request, mut buffer) = (String::new(), [0; 4096]);
        loop {
            let length = stream.read(&mut buffer).unwrap();
            request.push_str(std::str::from_utf8(&buffer[..length]).unwrap());
            if let Some(body) = request.split_once("\r\n\r\n").and_then(|(_, body)| serde_json::from_str(body).ok()) {
                let head = "HTTP/1.1 200 OK\r\ncontent-type: application/x-amz-json-1.1";
                write!(stream, "{head}\r\ncontent-length: {}\r\n\r\n{answer}", answer.len()).unwrap();
                return body;
            }
        }
    }

    #[test]
    fn fields_that_the_sdk_does_not_know_are_sent_and_received() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let config = aws_sdk_ecs::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .credentials_provider(Credentials::new("a", "b", None, None, "test"))
            .endpoint_url(format!("http://{}", listener.local_addr().unwrap()))
            .build();
        let (request, answer) = (json!({"taskDefinition": "shop-web", "tomorrow": true}), Answer::default());
        let reply = json!({"taskDefinition": {"family": "shop-web", "tomorrow": 1}});
        let server = std::thread::spawn({
            let reply = reply.to_string();
            move || serve(&listener, &reply)
        });
        let call = aws_sdk_ecs::Client::from_conf(config).describe_task_definition().task_definition("shop-web");
        let call = call.customize().mutate_request(with_body(&request)).interceptor(answer.clone());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let said = runtime.block_on(call.send()).unwrap();
        assert_eq!(said.task_definition().and_then(|found| found.family()), Some("shop-web"));
        assert_eq!(server.join().unwrap(), request);
        assert_eq!(answer.json(), reply);
    }
}
