//! What the editor can ask: the rows of the table, each as a method of its own and by `workspace/executeCommand`.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use futures_util::future::BoxFuture;
use protocol::editor::{Scope, SyncPush, SyncWatch};
use protocol::error::{Code, Error, Explain as _};
use protocol::method::Method as _;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicI32, Ordering};
use tower_lsp::jsonrpc::{self, ErrorCode};
use tower_lsp::lsp_types::{
    ExecuteCommandOptions, ExecuteCommandParams, InitializeParams, InitializeResult, InitializedParams, MessageType,
    NumberOrString, ServerCapabilities, ServerInfo,
};
use tower_lsp::{Client, ClientSocket, LanguageServer, LspService};

use super::Setting;
use super::person::Person;
use crate::commands::{Command, ParamsError};
use crate::config::{self, ConfigError, Layer, Loaded, Places};
use crate::env;
use crate::jobs::{Jobs, Request};
use crate::log;

/// Version of what `initialize` announces under `experimental.mltoolbox`.
const PROTOCOL: u32 = 1;

/// The code of JSON-RPC errors that are neither about the message nor a defect; `data.code` says which.
const WORK_FAILED: i64 = -32050;

/// The key that lets the sync start when an editor opens the project.
const AUTOSTART: &str = "editors.autostart";

tokio::task_local! {
    /// The id of the JSON-RPC request that is being answered, as text.
    pub(super) static REQUEST: String;
}

pub(super) type Service = LspService<Server>;

/// The state of one editor's server.
#[derive(Debug)]
pub(super) struct Server {
    client: Client,
    commands: &'static [Command],
    jobs: Jobs,
    folder: PathBuf,
    /// The workspace that the editor has open.
    root: OnceLock<PathBuf>,
    editor: Arc<AtomicI32>,
}

/// Returns the service with every row of the table, and the way to the editor.
pub(super) fn service(setting: Setting) -> (Service, ClientSocket) {
    let Setting { commands, jobs, folder, log, editor } = setting;
    let mut builder = LspService::build(move |client| {
        tokio::spawn(forward_log(client.clone(), log));
        Server { client, commands, jobs, folder, root: OnceLock::new(), editor }
    });
    for command in commands {
        builder = builder.custom_method(&command.method, move |server: &Server, params: Value| {
            let token = serde_json::from_value(params["workDoneToken"].clone()).ok();
            server.run(command, params, token)
        });
    }
    builder.finish()
}

impl Server {
    fn run(
        &self,
        command: &'static Command,
        params: Value,
        token: Option<NumberOrString>,
    ) -> BoxFuture<'static, jsonrpc::Result<Value>> {
        let id = REQUEST.try_with(Clone::clone).unwrap_or_default();
        let scope = match self.scope(&params) {
            Ok(scope) => scope,
            Err(source) => {
                let error = ParamsError::Invalid { method: command.name, source };
                return Box::pin(std::future::ready(Err(rpc(error.into()))));
            }
        };
        let folder = self.root.get().unwrap_or(&self.folder).clone();
        let (person, showing) = Person::new(self.client.clone(), id, command.about, token);
        let mut job = self.jobs.submit(Request { command, params, scope, folder }, Arc::new(person));
        Box::pin(async move {
            let answer = job.answer().await;
            showing.finish().await;
            answer.map_err(rpc)
        })
    }

    /// Reads what a command applies to from beside its parameters; the open workspace is the default.
    fn scope(&self, params: &Value) -> Result<Scope, serde_json::Error> {
        let mut scope: Scope =
            if params.is_null() { Scope::default() } else { serde_json::from_value(params.clone())? };
        if scope.workspace.is_none() {
            scope.workspace = self.root.get().map(|root| root.to_string_lossy().into_owned());
        }
        scope.remote = scope.remote.or_else(|| env::text(env::REMOTE));
        scope.variables = config::layers::from_environment();
        Ok(scope)
    }
}

#[tower_lsp::async_trait]
impl LanguageServer for Server {
    async fn initialize(&self, params: InitializeParams) -> jsonrpc::Result<InitializeResult> {
        if let Some(id) = params.process_id.and_then(|id| i32::try_from(id).ok())
            // An editor in another container has a number that means nothing here.
            && super::lives(id)
        {
            self.editor.store(id, Ordering::Relaxed);
        }
        let folders = params.workspace_folders.unwrap_or_default();
        let uri = folders.first().map(|folder| folder.uri.clone()).or(params.root_uri);
        if let Some(root) = uri.and_then(|uri| uri.to_file_path().ok()) {
            self.root.get_or_init(|| root);
        }
        let methods: Vec<_> = self.commands.iter().map(|command| command.method.clone()).collect();
        let version = env!("CARGO_PKG_VERSION");
        Ok(InitializeResult {
            capabilities: ServerCapabilities {
                execute_command_provider: Some(ExecuteCommandOptions {
                    commands: methods.clone(),
                    ..ExecuteCommandOptions::default()
                }),
                experimental: Some(json!({
                    "mltoolbox": { "protocol": PROTOCOL, "version": version, "methods": methods }
                })),
                ..ServerCapabilities::default()
            },
            server_info: Some(ServerInfo { name: "mltoolbox".to_owned(), version: Some(version.to_owned()) }),
        })
    }

    async fn initialized(&self, _: InitializedParams) {
        let Some(root) = self.root.get().cloned() else { return };
        let found = |name: &str| self.commands.iter().find(|command| command.name == name);
        let (Some(watch), Some(push)) = (found(SyncWatch::NAME), found(SyncPush::NAME)) else { return };
        let loaded = tokio::task::spawn_blocking(move || autostarted(&Places::of(&root))).await;
        let command = match loaded {
            Ok(Ok(Some(loaded))) => {
                if loaded.config.sync.watch {
                    watch
                } else {
                    push
                }
            }
            Ok(Ok(None)) => return,
            Ok(Err(error)) => {
                return self.client.log_message(MessageType::WARNING, format!("{error}. {}", error.help())).await;
            }
            Err(died) => return tracing::error!(%died, "the configuration could not be read"),
        };
        let (work, client) = (self.run(command, json!({}), None), self.client.clone());
        // Nobody waits for it, and the editor's next messages must not.
        tokio::spawn(async move {
            if let Err(error) = work.await {
                client.log_message(MessageType::WARNING, format!("the sync does not start: {}", error.message)).await;
            }
        });
    }

    async fn shutdown(&self) -> jsonrpc::Result<()> {
        Ok(())
    }

    async fn execute_command(&self, params: ExecuteCommandParams) -> jsonrpc::Result<Option<Value>> {
        let mut commands = self.commands.iter();
        let Some(command) = commands.find(|command| command.method == params.command || command.name == params.command)
        else {
            return Err(rpc(ParamsError::UnknownMethod { name: params.command }.into()));
        };
        let argument = params.arguments.into_iter().next().unwrap_or_else(|| json!({}));
        self.run(command, argument, params.work_done_progress_params.work_done_token).await.map(Some)
    }
}

/// Returns the configuration if the sync starts by itself. A file that comes with a project can only forbid it: opening
/// a folder must not begin what its author wants. Blocks.
pub(super) fn autostarted(places: &Places) -> Result<Option<Loaded>, ConfigError> {
    let loaded = config::load(places)?;
    let is_of_project = |place: &config::Place| matches!(place.source.layer(), Some(Layer::Project | Layer::Local));
    let is_wanted = loaded.config.editors.autostart
        && (!loaded.origin(AUTOSTART).is_some_and(is_of_project) || {
            let read = config::read(places);
            let said = read.layers.iter().rev().filter_map(|layer| layer.at(AUTOSTART.split('.')));
            said.into_iter()
                .find(|node| !is_of_project(&node.place))
                .is_some_and(|node| node.as_written() == Some("true"))
        });
    Ok(is_wanted.then_some(loaded))
}

/// Returns an error as JSON-RPC has it.
pub(super) fn rpc(error: Error) -> jsonrpc::Error {
    let code = match error.code {
        Code::ParamsInvalid => ErrorCode::InvalidParams,
        Code::MethodUnknown => ErrorCode::MethodNotFound,
        Code::Cancelled => ErrorCode::RequestCancelled,
        Code::Bug => ErrorCode::InternalError,
        _ => ErrorCode::ServerError(WORK_FAILED),
    };
    let data = Some(data(&error));
    jsonrpc::Error { code, message: error.message.into(), data }
}

/// Returns the `data` of an error.
pub(super) fn data(error: &Error) -> Value {
    json!({ "code": error.code, "help": error.help, "causes": error.causes })
}

async fn forward_log(client: Client, mut lines: tokio::sync::mpsc::Receiver<log::Line>) {
    while let Some(line) = lines.recv().await {
        let kind = match line.level {
            tracing::Level::ERROR => MessageType::ERROR,
            tracing::Level::WARN => MessageType::WARNING,
            tracing::Level::INFO => MessageType::INFO,
            _ => MessageType::LOG,
        };
        client.log_message(kind, line.text).await;
    }
}
