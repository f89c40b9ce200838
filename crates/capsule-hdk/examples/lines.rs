//! A whole runner: every line that a TCP client sends is a call of the module, every answer is a line.

use std::error::Error;
use std::path::Path;

use capsule_hdk::{Engine, EngineConfig, Function, FunctionConfig, Host, HostFunction, HostFunctions, Module, Reply};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // What modules may import beside WASI: a function of our own.
    let mut functions = HostFunctions::new();
    functions.add(HostFunction::new("hostVersion", Reply::Raw, |_, []: [&[u8]; 0]| Ok(b"lines 1.0".to_vec())));

    let engine = Engine::new(&EngineConfig::default())?;
    let host = Host::new(&engine, &functions)?;
    let path = std::env::args().nth(1).ok_or("usage: lines MODULE")?;
    let module = Module::from_file(&engine, Path::new(&path))?;
    let function = Function::new(&host, &module, FunctionConfig::new("lines"))?;
    function.start().await?;

    let listener = TcpListener::bind("127.0.0.1:7777").await?;
    loop {
        match listener.accept().await {
            Ok((stream, _)) => drop(tokio::spawn(serve(function.clone(), stream))),
            // One connection that failed is no reason to end.
            Err(_) => tokio::time::sleep(std::time::Duration::from_millis(100)).await,
        }
    }
}

async fn serve(function: Function, stream: TcpStream) -> Result<(), Box<dyn Error + Send + Sync>> {
    let (reader, mut writer) = stream.into_split();
    let mut lines = BufReader::new(reader).lines();
    while let Some(line) = lines.next_line().await? {
        let mut answer = match function.handle(line).await {
            Ok(answer) => answer.to_vec(),
            Err(error) => format!("error: {error}").into_bytes(),
        };
        answer.push(b'\n');
        writer.write_all(&answer).await?;
    }
    Ok(())
}
