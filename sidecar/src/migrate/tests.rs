//! Projects as people have them, and the file that each of them becomes.

use std::fmt::Write as _;
use std::fs;

use expect_test::{Expect, expect};
use protocol::error::Error;

use super::*;

/// Makes a folder of one text in which `//- name` begins each file.
fn project(files: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder for the test");
    for file in files.split("//- ").skip(1) {
        let (name, text) = file.split_once('\n').expect("a name on a line of its own");
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().expect("it is in the folder")).expect("a folder for the test");
        fs::write(path, text).expect("a file for the test");
    }
    folder
}

/// Shows what would be written, and what else is said.
fn shown(folder: &Path) -> String {
    match plan(folder) {
        Ok(plan) => {
            let mut shown = plan.text;
            for FoundSecret { name, variable, origin, value } in &plan.secrets {
                let known = if value.is_some() { "known" } else { "not known" };
                writeln!(shown, "secret {name} of {variable} at {origin}, {known}").expect("a string takes everything");
            }
            shown
        }
        Err(error) => {
            let error = Error::from(error);
            format!("{}\n{:?}\n{}\n", error.message, error.causes, error.help)
        }
    }
}

#[track_caller]
fn check(files: &str, expected: &Expect) {
    let folder = project(files);
    let shown = shown(folder.path());
    let shown = shown.replace(&folder.path().display().to_string(), "$PROJECT");
    let name = value::name(&folder.path().file_name().expect("it has a name").to_string_lossy());
    expected.assert_eq(&shown.replace(&name, "$NAME"));
}

/// A training script with its image and variables.
const TRAINING: &str = r#"
//- .env
# Weights & Biases
WANDB_PROJECT=bert-finetune
WANDB_ENTITY="ml team"
WANDB_API_KEY=0123456789abcdef0123456789abcdef01234567
HF_HOME=${HOME}/.cache/huggingface
HF_TOKEN='hf_abcdefghijklmnopqrstuvwxyz'

CUDA_VISIBLE_DEVICES=0,1
OMP_NUM_THREADS=8
TOKENIZERS_PARALLELISM=false
MAX_TOKENS=4096
AWS_ACCESS_KEY_ID=
LOG_LEVEL=info   # or debug
//- Dockerfile
# syntax=docker/dockerfile:1
FROM nvidia/cuda:12.4.1-cudnn-devel-ubuntu22.04 AS base
EXPOSE 1234
RUN apt-get update \
    && apt-get install -y --no-install-recommends git \
    && rm -rf /var/lib/apt/lists/*

FROM base
WORKDIR /workspace
COPY requirements.txt .
RUN pip install -r requirements.txt
EXPOSE 8888 6006/tcp
ENV GITHUB_TOKEN=ghp_0123456789abcdefghij
CMD ["python", "train.py"]
//- train.py
print("hello")
"#;

/// Several services, of which one is worked in.
const SERVICES: &str = r#"
//- .env
COMPOSE_PROJECT_NAME=Recommender Engine
TAG=2.3.1
JUPYTER_PORT=8889
POSTGRES_PASSWORD=pa$$word
DATA_DIR=/mnt/data
//- config/train.env
LR=3e-4
NEPTUNE_API_TOKEN=eyJhcGlfYWRkcmVzcyI6Imh0dHBz
//- docker-compose.yml
version: "3.8"
x-common: &common
  restart: unless-stopped
  logging: {driver: json-file}
services:
  db:
    <<: *common
    image: postgres:16
    environment:
      POSTGRES_PASSWORD: ${POSTGRES_PASSWORD:?set it}
    volumes: ["pgdata:/var/lib/postgresql/data"]
  tracking:
    image: ghcr.io/mlflow/mlflow:v2.9.2
    ports: ["5000:5000"]
  trainer:
    <<: *common
    build:
      context: .
      dockerfile: docker/Dockerfile.gpu
      args: {PYTHON: "3.12"}
    image: registry.example.org/trainer:${TAG}
    container_name: trainer
    shm_size: 16gb
    command: python -m trainer --data /data
    env_file:
      - .env
      - path: ./config/train.env
        required: false
      - missing.env
    environment:
      - DATABASE_URL=postgres://trainer:${POSTGRES_PASSWORD}@db:5432/features
      - MLFLOW_TRACKING_URI=http://tracking:5000
      - EPOCHS=${EPOCHS:-10}
      - HOSTNAME_HINT
      - GREETING=costs $$5 and $${NOTHING}
    ports:
      - "${JUPYTER_PORT:-8888}:8888"
      - 6006-6007:6006-6007
      - target: 22
        published: 2222
        host_ip: 127.0.0.1
      - "${UNKNOWN_PORT}:9000"
    volumes:
      - .:/workspace
      - ${DATA_DIR}:/data:ro,z
      - ${CACHE:-~/.cache}/hf:/root/.cache/huggingface
      - type: bind
        source: ~/.ssh
        target: /root/.ssh
        read_only: true
      - type: tmpfs
        target: /scratch
      - /anonymous
      - outputs:/outputs
    deploy:
      resources:
        limits: {memory: 64g}
        reservations:
          devices:
            - driver: nvidia
              count: 2
              capabilities: [gpu]
    depends_on: [db, tracking]
volumes:
  pgdata:
  outputs: {driver: local, driver_opts: {type: nfs}}
networks: {default: {driver: bridge}}
//- docker-compose.override.yml
services: {}
//- docker/Dockerfile.gpu
FROM pytorch/pytorch:2.3.1-cuda12.1-cudnn8-runtime
RUN pip install -e .
//- Dockerfile
FROM python:3.12
"#;

/// What the templates of the older version made.
const TEMPLATES: &str = r#"
//- .env
PROJECT_NAME=myproject
WANDB_PROJECT=myproject
WANDB_API_KEY=
GIT_EMAIL=user@example.com
GIT_NAME="Ada L."
RAY_DASHBOARD_PORT=8265
//- .env.j2
WANDB_PROJECT={{ wandb_project }}
GIT_EMAIL={{ git_email }}
//- Dockerfile
FROM ghcr.io/sidbaskaran/ml-base:py3.12-cuda
COPY . /workspace
//- Dockerfile.j2
FROM {{ base_image }}
//- docker-compose.yml
services:
  myproject:
    build: .
    container_name: ${PROJECT_NAME}-dev
    env_file: .env
    runtime: nvidia
    network_mode: host
    volumes:
      - ./data:/workspace/data
      - ~/.gitconfig:/root/.gitconfig:ro
      - ${HOME}/.ssh:/root/.ssh:ro
    ports: ["8888:8888", "6006:6006", "2222:22"]
    command: bash -c "ray start --head --port=6380 --dashboard-port=8266 && sleep infinity"
    tty: true
"#;

/// Quotes of every kind, and texts that YAML would read otherwise.
const QUOTES: &str = r#"
//- .env
export PLAIN=one
SPACED = two words  # a comment
SINGLE='$HOME and \n and it\'s'
DOUBLE="tab\there \"quoted\" and \$HOME"
LINES="first
second"
EMPTY=
YES=yes
NULL=null
NUMBER=007
COLON=a: b
HASH=a#b
BRACE={x}
STAR=*all
LATER=${PLAIN}-${MISSING:-three}-${MISSING}
NESTED=${MISSING:-${PLAIN}}
SET=${PLAIN:+yes}${MISSING:+no}
NEEDED=${MISSING:?say it}
LITERAL='${not:ours}'
INHERITED
DOT.TED=x
UNICODE="grüße 🎉"
BELL="\a"
PLAIN=again
"#;

#[test]
fn a_training_project() {
    check(
        TRAINING,
        &expect![[r#"
            # Written by `mltoolbox-sidecar migrate` from .env and Dockerfile; what it was made from stays as it
            # is. Look it through: `mltoolbox-sidecar config validate` checks it, and `mltoolbox-sidecar config
            # show --origin` shows what counts.
            version: "3.0"

            project:
              name: $NAME  # the folder

            environment:
              dockerfile: ./Dockerfile  # Dockerfile

              env:
                WANDB_PROJECT: bert-finetune  # .env:2
                WANDB_ENTITY: "ml team"  # .env:3
                WANDB_API_KEY: "${secret:wandb_api_key}"  # .env:4
                HF_HOME: "${HOME}/.cache/huggingface"  # .env:5
                HF_TOKEN: "${secret:hf_token}"  # .env:6
                CUDA_VISIBLE_DEVICES: "0,1"  # .env:8
                OMP_NUM_THREADS: "8"  # .env:9
                TOKENIZERS_PARALLELISM: "false"  # .env:10
                MAX_TOKENS: "4096"  # .env:11
                AWS_ACCESS_KEY_ID: ""  # .env:12
                LOG_LEVEL: info  # .env:13

              ports:
                - "8888:8888"  # Dockerfile:12
                - "6006:6006"  # Dockerfile:12

            # What `.gitignore` and `.mltignore` leave out is not synced; more is left out, or synced all the
            # same, by:
            # sync:
            #   exclude: ["*.pth", data/raw/]
            #   include_overrides: ["configs/*.yaml"]

            # Their values are in the secret store, or go there with `mltoolbox-sidecar secret set NAME`:
            # wandb_api_key and hf_token.

            # Not carried over:
            # - Dockerfile:13 `GITHUB_TOKEN`: it looks like a secret, and everybody who has the image has it;
            #   remove it there, and write `GITHUB_TOKEN: ${secret:github_token}` in `environment.env`.
            secret wandb_api_key of WANDB_API_KEY at .env:4, known
            secret hf_token of HF_TOKEN at .env:6, known
        "#]],
    );
}

#[test]
fn a_compose_file_with_several_services() {
    check(
        SERVICES,
        &expect![[r#"
            # Written by `mltoolbox-sidecar migrate` from .env, Dockerfile and docker-compose.yml; what it was
            # made from stays as it is. Look it through: `mltoolbox-sidecar config validate` checks it, and
            # `mltoolbox-sidecar config show --origin` shows what counts.
            version: "3.0"

            project:
              name: Recommender-Engine  # .env:1

            environment:
              dockerfile: ./docker/Dockerfile.gpu  # docker-compose.yml:17

              env:
                TAG: "2.3.1"  # .env:2
                JUPYTER_PORT: "8889"  # .env:3
                POSTGRES_PASSWORD: "${secret:postgres_password}"  # .env:4
                DATA_DIR: /mnt/data  # .env:5
                DATABASE_URL: "postgres://trainer:${secret:postgres_password}@db:5432/features"  # docker-compose.yml:31
                MLFLOW_TRACKING_URI: http://tracking:5000  # docker-compose.yml:32
                EPOCHS: "${env:EPOCHS:10}"  # docker-compose.yml:33
                HOSTNAME_HINT: "${env:HOSTNAME_HINT:}"  # docker-compose.yml:34
                GREETING: "costs $5 and $${NOTHING}"  # docker-compose.yml:35

              env_file:
                - "config/train.env"  # docker-compose.yml:27

              volumes:
                - ".:/workspace"  # docker-compose.yml:44
                - "/mnt/data:/data:ro"  # docker-compose.yml:45
                - "${env:CACHE:~/.cache}/hf:/root/.cache/huggingface"  # docker-compose.yml:46
                - "~/.ssh:/root/.ssh:ro"  # docker-compose.yml:47
                - "outputs:/outputs"  # docker-compose.yml:54

              ports:
                - "8889:8888"  # docker-compose.yml:37
                - "6006:6006"  # docker-compose.yml:38
                - "6007:6007"  # docker-compose.yml:38
                - "127.0.0.1:2222:22"  # docker-compose.yml:39

              gpu:
                count: 2  # docker-compose.yml:60

            # What `.gitignore` and `.mltignore` leave out is not synced; more is left out, or synced all the
            # same, by:
            # sync:
            #   exclude: ["*.pth", data/raw/]
            #   include_overrides: ["configs/*.yaml"]

            # Their values are in the secret store, or go there with `mltoolbox-sidecar secret set NAME`:
            # postgres_password.

            # Not carried over:
            # - docker-compose.yml:6 the service `db`: a project has one container, which is made from
            #   `trainer`; go on running this one with `docker compose up -d db`.
            # - docker-compose.yml:12 the service `tracking`: a project has one container, which is made from
            #   `trainer`; go on running this one with `docker compose up -d tracking`.
            # - docker-compose.yml:20 `build.args`: write the values into the Dockerfile as `ARG NAME=value`.
            # - docker-compose.yml:21 `image`: it only names what `build` makes.
            # - docker-compose.yml:23 `shm_size`: there is no key for limits of a container yet; give the data
            #   loader fewer workers if it runs out of shared memory.
            # - docker-compose.yml:24 `command`: the container is kept running without it; run it with
            #   `mltoolbox-sidecar exec`, or name it in `hooks.on_container_start` if it ends by itself.
            # - config/train.env:2 `NEPTUNE_API_TOKEN`: it looks like a secret and stays in that file; run
            #   `mltoolbox-sidecar secret set neptune_api_token`, remove it there, and write `NEPTUNE_API_TOKEN:
            #   ${secret:neptune_api_token}` in `environment.env`.
            # - docker-compose.yml:29 the env file `missing.env`: it is not there, or not readable as an env
            #   file.
            # - docker-compose.yml:42 a port: it depends on the variable `UNKNOWN_PORT`, which `.env` does not
            #   set.
            # - docker-compose.yml:51 a mount of the type `tmpfs`: only files, folders and volumes can be
            #   mounted.
            # - docker-compose.yml:53 the volume `/anonymous`: it has no name, so that nothing would find it
            #   again.
            # - docker-compose.yml:57 `deploy.resources`: there is no key for it but that of GPUs.
            # - docker-compose.yml:63 `depends_on`: a project's container is started and stopped by hand, and
            #   alone.
            # - docker-compose.yml:3 `restart`: a project's container is started and stopped by hand, and alone.
            # - docker-compose.yml:4 `logging`: there is no key for it.
            # - docker-compose.yml:66 the volume `outputs`: its driver and options have no key.
            # - docker-compose.yml:67 `networks`: the container has a network of its own, or that of its machine
            #   (`network_mode: host`).
            # - docker-compose.override.yml what lies over the compose file: only `docker-compose.yml` is read;
            #   run `docker compose config` to see what both come to.
            secret postgres_password of POSTGRES_PASSWORD at .env:4, known
        "#]],
    );
}

#[test]
fn what_the_templates_of_the_older_version_made() {
    check(
        TEMPLATES,
        &expect![[r#"
            # Written by `mltoolbox-sidecar migrate` from .env, Dockerfile and docker-compose.yml; what it was
            # made from stays as it is. Look it through: `mltoolbox-sidecar config validate` checks it, and
            # `mltoolbox-sidecar config show --origin` shows what counts.
            version: "3.0"

            project:
              name: myproject  # docker-compose.yml:4

            environment:
              dockerfile: ./Dockerfile  # docker-compose.yml:3

              env:
                PROJECT_NAME: myproject  # .env:1
                WANDB_PROJECT: myproject  # .env:2
                WANDB_API_KEY: ""  # .env:3
                GIT_EMAIL: user@example.com  # .env:4
                GIT_NAME: "Ada L."  # .env:5
                RAY_DASHBOARD_PORT: "8265"  # .env:6

              volumes:
                - "./data:/workspace/data"  # docker-compose.yml:9
                - "~/.gitconfig:/root/.gitconfig:ro"  # docker-compose.yml:10
                - "${HOME}/.ssh:/root/.ssh:ro"  # docker-compose.yml:11

              ports:
                - "8888:8888"  # docker-compose.yml:12
                - "6006:6006"  # docker-compose.yml:12
                - "2222:22"  # docker-compose.yml:12

              gpu:
                count: 1  # docker-compose.yml:6

              network_mode: host  # docker-compose.yml:7

            ray:
              enabled: true  # docker-compose.yml:13
              port: 6380
              dashboard_port: 8266

            # What `.gitignore` and `.mltignore` leave out is not synced; more is left out, or synced all the
            # same, by:
            # sync:
            #   exclude: ["*.pth", data/raw/]
            #   include_overrides: ["configs/*.yaml"]

            # Not carried over:
            # - docker-compose.yml:6 all GPUs of the machine: here a number is needed; 1 is written, change
            #   `environment.gpu.count` if it is more.
            # - docker-compose.yml:14 `tty`: a command says it itself when it is run.
            # - .env.j2 a template: its values are not known; the file that was made from it is read.
            # - Dockerfile.j2 a template: its values are not known; the file that was made from it is read.
        "#]],
    );
}

#[test]
fn odd_quotes() {
    check(
        QUOTES,
        &expect![[r#"
            # Written by `mltoolbox-sidecar migrate` from .env; what it was made from stays as it is. Look it
            # through: `mltoolbox-sidecar config validate` checks it, and `mltoolbox-sidecar config show
            # --origin` shows what counts.
            version: "3.0"

            project:
              name: $NAME  # the folder

            environment:
              base_image: ghcr.io/sidbaskaran/ml-base:py3.12-cuda  # no file names an image; this is the usual one

              env:
                PLAIN: again  # .env:24
                SPACED: "two words"  # .env:2
                SINGLE: "$HOME and \\n and it's"  # .env:3
                DOUBLE: "tab\there \"quoted\" and $HOME"  # .env:4
                LINES: "first\nsecond"  # .env:5
                EMPTY: ""  # .env:7
                "YES": "yes"  # .env:8
                "NULL": "null"  # .env:9
                NUMBER: "007"  # .env:10
                COLON: "a: b"  # .env:11
                HASH: "a#b"  # .env:12
                BRACE: "{x}"  # .env:13
                STAR: "*all"  # .env:14
                LATER: "one-${env:MISSING:three}-${env:MISSING:}"  # .env:15
                NESTED: "${env:MISSING:one}"  # .env:16
                NEEDED: "${env:MISSING}"  # .env:18
                LITERAL: "$${not:ours}"  # .env:19
                INHERITED: "${env:INHERITED:}"  # .env:20
                DOT.TED: x  # .env:21
                UNICODE: "grüße 🎉"  # .env:22
                BELL: "\U00000007"  # .env:23

            # What `.gitignore` and `.mltignore` leave out is not synced; more is left out, or synced all the
            # same, by:
            # sync:
            #   exclude: ["*.pth", data/raw/]
            #   include_overrides: ["configs/*.yaml"]

            # Not carried over:
            # - .env:17 `SET`: there is no form for `${…:+…}`.
        "#]],
    );
}

#[test]
fn only_variables_beside_a_devcontainer() {
    check(
        "//- .env\nA=1\n//- .devcontainer/devcontainer.json\n{\"image\": \"x\"}\n",
        &expect![[r#"
            # Written by `mltoolbox-sidecar migrate` from .env; what it was made from stays as it is. Look it
            # through: `mltoolbox-sidecar config validate` checks it, and `mltoolbox-sidecar config show
            # --origin` shows what counts.
            version: "3.0"

            project:
              name: $NAME  # the folder

            environment:
              devcontainer: .devcontainer/devcontainer.json  # .devcontainer/devcontainer.json

              env:
                A: "1"  # .env:1

            # What `.gitignore` and `.mltignore` leave out is not synced; more is left out, or synced all the
            # same, by:
            # sync:
            #   exclude: ["*.pth", data/raw/]
            #   include_overrides: ["configs/*.yaml"]
        "#]],
    );
}

#[test]
fn what_cannot_be_read_is_said_with_its_place() {
    let cases = [
        "//- train.py\n",
        "//- .env\nA=1\nB=\"x\n",
        "//- compose.yaml\nservices:\n\tapp: {}\n",
        "//- compose.yaml\nservices: {a: {image: x}, a: {image: y}}\n",
        "//- compose.yaml\nservices: {}\n",
        "//- compose.yaml\nservices: {a: {image: \"no image\"}}\n",
        "//- Dockerfile/x\n",
        "//- .env/x\n",
    ];
    let mut all = String::new();
    for files in cases {
        let folder = project(files);
        let shown = shown(folder.path()).replace(&folder.path().display().to_string(), "$PROJECT");
        let name = value::name(&folder.path().file_name().expect("it has a name").to_string_lossy());
        all += &shown.replace(&name, "$NAME");
        all.push('\n');
    }
    expect![[r#"
        `$PROJECT` has no `.env`, no `Dockerfile` and no compose file
        []
        Run `mltoolbox-sidecar init` to begin with a new configuration, or name another folder with `--workspace DIR`.

        $PROJECT/.env:2:3: the value's opening double quote is never closed
        []
        Close it in line 2 of `$PROJECT/.env`, or put the whole value into ' if the " belongs to it.

        $PROJECT/compose.yaml:2:1: a tab stands in the indentation, where YAML takes spaces only
        []
        Write two spaces for each level in place of the tab.

        $PROJECT/compose.yaml:1:27: `a` stands here for a second time; first in line 1
        []
        Move what is below this `a` to the first one, then remove this one.

        # Written by `mltoolbox-sidecar migrate` from compose.yaml; what it was made from stays as it is.
        # Look it through: `mltoolbox-sidecar config validate` checks it, and `mltoolbox-sidecar config show
        # --origin` shows what counts.
        version: "3.0"

        project:
          name: $NAME  # the folder

        environment:
          base_image: ghcr.io/sidbaskaran/ml-base:py3.12-cuda  # no file names an image; this is the usual one

          gpu:
            count: 0  # compose.yaml gives it none

        # What `.gitignore` and `.mltignore` leave out is not synced; more is left out, or synced all the
        # same, by:
        # sync:
        #   exclude: ["*.pth", data/raw/]
        #   include_overrides: ["configs/*.yaml"]

        # Not carried over:
        # - compose.yaml:1 the services: there are none in it.

        what these files come to would not be a valid `mltoolbox.yaml`: `environment.base_image`: `no image` is no name of an image
        []
        Run `mltoolbox-sidecar migrate --dry-run` after changing where that comes from; write `noimage` in its place.

        `$PROJECT` has no `.env`, no `Dockerfile` and no compose file
        []
        Run `mltoolbox-sidecar init` to begin with a new configuration, or name another folder with `--workspace DIR`.

        `$PROJECT` has no `.env`, no `Dockerfile` and no compose file
        []
        Run `mltoolbox-sidecar init` to begin with a new configuration, or name another folder with `--workspace DIR`.

    "#]].assert_eq(&all);
}

#[test]
fn nothing_is_overwritten_and_nothing_else_is_touched() {
    for files in [TRAINING, SERVICES, TEMPLATES, QUOTES] {
        let folder = project(files);
        let before = contents(folder.path());
        let first = plan(folder.path()).expect("it can be read");
        assert!(write(folder.path(), &first.text).expect("it can be written"), "nothing stood there");
        assert_eq!(plan(folder.path()).expect("it can be read"), first);
        assert!(!write(folder.path(), "other: text\n").expect("it can be written"), "a file stands there");
        let mut after = contents(folder.path());
        let written = after.remove(TARGET).expect("it was written");
        assert_eq!(written, first.text.as_bytes());
        assert_eq!(before, after);
    }
    #[cfg(unix)]
    {
        let folder = project(QUOTES);
        std::os::unix::fs::symlink("nowhere", folder.path().join(TARGET)).expect("a link for the test");
        assert!(!write(folder.path(), "a: b\n").expect("it can be written"));
        assert!(!folder.path().join("nowhere").exists());
    }
}

/// Every file below a folder with its bytes.
fn contents(folder: &Path) -> std::collections::BTreeMap<String, Vec<u8>> {
    let mut found = std::collections::BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).expect("a folder of the test") {
            let path = entry.expect("an entry of the test").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(folder).expect("it is below").display().to_string();
                found.insert(name, fs::read(&path).expect("a file of the test"));
            }
        }
    }
    found
}

#[test]
fn no_secret_value_is_written_or_shown() {
    for (files, secret) in [
        (TRAINING, "0123456789abcdef"),
        (TRAINING, "hf_abc"),
        (TRAINING, "ghp_"),
        (SERVICES, "pa$word"),
        (SERVICES, "pa$$word"),
        (SERVICES, "eyJh"),
    ] {
        let folder = project(files);
        let plan = plan(folder.path()).expect("it can be read");
        assert!(!format!("{} {:?} {:?}", plan.text, plan.left, plan.secrets).contains(secret), "{secret}");
    }
}

#[test]
fn advice_is_for_projects_that_have_more_than_a_dockerfile() {
    assert!(is_advised(project(TRAINING).path()));
    assert!(is_advised(project("//- compose.yml\n").path()));
    assert!(!is_advised(project("//- Dockerfile\nFROM a\n").path()));
    assert!(!is_advised(project("//- .env\nA=1\n//- mltoolbox.yaml\n").path()));
    assert!(!is_advised(project("//- train.py\n").path()));
}

#[test]
fn what_looks_like_a_secret() {
    let secret = [
        ("WANDB_API_KEY", "0123456789abcdef"),
        ("DB_PASSWORD", "pw"),
        ("HF_TOKEN", "x"),
        ("SLACK_WEBHOOK_URL", "https://hooks.example.org/x"),
        ("URL", "postgres://ada:pw@db/x"),
        ("X", "ghp_0123456789"),
        ("X", "-----BEGIN OPENSSH PRIVATE KEY-----\nabc"),
        ("STUFF", "aB3dE5gH7jK9mN1pQ3sT5vW7yZ9bC1eF"),
        ("COMET_KEY", "abcdefghijklmnop"),
        ("PGPASSWORD", "x"),
        ("dbPassword", "x"),
        ("SSHPASS", "x"),
        ("NPM_AUTHTOKEN", "x"),
        ("MINIO_SECRETKEY", "x"),
        ("OPENAI_APIKEY", "x"),
        ("STORAGE", "DefaultEndpointsProtocol=https;AccountName=a;AccountKey=abc+d/e=="),
        ("FEED", "https://example.org/?token=abc"),
        ("SLACK_URL", "https://hooks.slack.com/services/T0/B0/x"),
        ("ALERTS", "https://discord.com/api/webhooks/1/x"),
        ("DB_PASSWORD", "/begins-with-a-slash"),
        ("DB_PASSWORD", "~tilde"),
        ("DB_PASSWORD", ".dot"),
    ];
    for (name, value) in secret {
        assert!(value::looks_secret(name, value), "{name}");
    }
    let plain = [
        ("WANDB_PROJECT", "bert"),
        ("TOKENIZERS_PARALLELISM", "false"),
        ("MAX_TOKENS", "4096"),
        ("SSH_KEY_PATH", "/root/.ssh/id"),
        ("API_KEY", ""),
        ("USE_TOKEN", "true"),
        ("PRIMARY_KEY", "id"),
        ("URL", "https://example.org/a:b@c"),
        ("URL", "ssh://git@example.org/x"),
        ("DATA", "/mnt/Data/2024/Experiments/Run1/checkpoints"),
        ("AWS_ACCESS_KEY_ID", "x"),
        ("KEYS", "a,b"),
        ("MONKEY", "banana"),
        ("PWD", "/app"),
        ("DB_PASSWORD_FILE", "/run/secrets/db"),
        ("GOOGLE_APPLICATION_CREDENTIALS", "/root/key.json"),
        ("PROXY_BYPASS", "localhost"),
        ("dataPath", "/mnt/data"),
        ("JAVA_OPTS", "-Xmx=1;-Dmode=fast"),
        ("QUERY", "https://example.org/?page=2&sort=name"),
        ("HOME_FOR_ALL_OF_US_2024", "thisIsALongCamelCaseWordWithOne1Digit"),
    ];
    for (name, value) in plain {
        assert!(!value::looks_secret(name, value), "{name}={value}");
    }
}

proptest::proptest! {
    #[test]
    fn whatever_env_files_say_comes_back_from_the_new_one(
        values in proptest::collection::vec("[ -~\u{e9}\n\t\u{7f}\u{85}\u{2028}\u{1f389}]{0,20}", 1..6),
    ) {
        let mut env = String::new();
        let mut wanted = Vec::new();
        for (number, value) in values.iter().enumerate() {
            if value.contains('\'') || value.ends_with('\\') {
                continue;
            }
            writeln!(env, "V{number}='{value}'").expect("a string takes everything");
            wanted.push((format!("V{number}"), value.clone()));
        }
        env.push_str("LAST=1\n");
        let folder = project("//- Dockerfile\nFROM a\n");
        fs::write(folder.path().join(".env"), env).expect("a file for the test");
        let plan = plan(folder.path()).expect("it can be read");
        let source = Source::file(Layer::Project, &folder.path().join(TARGET));
        let root = tree::parse(&plan.text, &source).root.expect("it is valid");
        for (name, value) in wanted {
            if plan.secrets.iter().any(|secret| secret.variable == name) {
                continue;
            }
            let written = root.at(["environment", "env", &name]).and_then(tree::Node::as_written);
            let expected = value::escaped(&value);
            proptest::prop_assert_eq!(written, Some(expected.as_str()));
        }
    }
}
