//! A guest for one host function: its argument holds the inputs, its result is what the host function answered.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use capsule_hdk::{
    Call, CallError, Engine, EngineConfig, Function, FunctionConfig, Host, HostFunctions, Kind, MemoryOutput, Module,
    Stream,
};
use capsule_hostfns::Services;
use tokio::time::Instant;

/// Where an input that lies outside of the memory is said to be.
const OUTSIDE: u32 = 0xffff_ff00;

/// An input of a host function.
pub(crate) enum Input<'a> {
    Bytes(&'a [u8]),
    /// 16 bytes outside of the guest's memory.
    Outside,
    /// No bytes at an address outside of the guest's memory.
    EmptyOutside,
}

/// What the host function put into its cells, and the bytes that they point to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) pointer: u32,
    pub(crate) length: u32,
    pub(crate) bytes: Vec<u8>,
}

impl Answer {
    /// The content of the frame: S or F.
    pub(crate) fn framed(self) -> Result<String, String> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        match self.bytes.split_first().unwrap() {
            (b'S', bytes) => Ok(text(bytes)),
            (b'F', bytes) => Err(text(bytes)),
            (frame, _) => panic!("frame byte {frame}"),
        }
    }
}

pub(crate) struct Guest {
    host: Host,
    module: Module,
    function: Function,
    output: Arc<MemoryOutput>,
}

impl Guest {
    /// A guest of `import`, which takes `inputs` and answers into cells.
    pub(crate) fn new(import: &str, inputs: usize) -> Guest {
        Guest::with(import, inputs, |_| Services::default())
    }

    /// As [`Guest::new`] with settings.
    pub(crate) fn with(import: &str, inputs: usize, setup: impl FnOnce(&mut FunctionConfig) -> Services) -> Guest {
        Guest::of(&wat(import, inputs, Some((16, 20))), setup)
    }

    /// A guest of `import`, which answers nothing.
    pub(crate) fn mute(import: &str) -> Guest {
        Guest::of(&wat(import, 1, None), |_| Services::default())
    }

    /// A guest from its text. Its output goes to memory.
    pub(crate) fn of(wat: &str, setup: impl FnOnce(&mut FunctionConfig) -> Services) -> Guest {
        let mut functions = HostFunctions::new();
        capsule_hostfns::standard(&mut functions);
        let mut config = EngineConfig::default();
        config.pooling = false;
        let engine = Engine::new(&config).unwrap();
        let host = Host::new(&engine, &functions).unwrap();
        let module = Module::from_bytes(&engine, "guest", wat.as_bytes()).unwrap();
        Guest::made(host, module, setup)
    }

    fn made(host: Host, module: Module, setup: impl FnOnce(&mut FunctionConfig) -> Services) -> Guest {
        let output = Arc::new(MemoryOutput::default());
        let mut config = FunctionConfig::new("guest");
        config.output = Arc::clone(&output) as _;
        let services = setup(&mut config);
        services.attach(&mut config);
        let function = Function::new(&host, &module, config).unwrap();
        Guest { host, module, function, output }
    }

    /// Another function of the same runner with the same module.
    pub(crate) fn beside(&self, setup: impl FnOnce(&mut FunctionConfig) -> Services) -> Guest {
        Guest::made(self.host.clone(), self.module.clone(), setup)
    }

    /// Calls the host function with bytes and decodes its frame.
    pub(crate) async fn framed(&self, inputs: &[&str]) -> Result<String, String> {
        self.bytes(&inputs.iter().map(|input| input.as_bytes()).collect::<Vec<_>>()).await.framed()
    }

    pub(crate) async fn bytes(&self, inputs: &[&[u8]]) -> Answer {
        self.call(&inputs.iter().map(|input| Input::Bytes(input)).collect::<Vec<_>>()).await.unwrap()
    }

    /// As [`Guest::framed`] with one input, in a call that ends after `limit`. A host function gives up shortly before that,
    /// so that the guest can still answer; where a loaded machine is too slow for it, the call is made again.
    pub(crate) async fn framed_within(&self, limit: Duration, input: &str) -> Result<String, String> {
        for _ in 0..100 {
            let call = Call::new(Kind::Text, argument(&[Input::Bytes(input.as_bytes())]));
            match self.function.call(call.with_deadline(Instant::now() + limit)).await {
                Err(CallError::Deadline(_)) => {}
                Err(CallError::Start(error)) if matches!(*error, CallError::Deadline(_)) => {}
                result => return answer(&result.unwrap()).framed(),
            }
        }
        panic!("no call of {limit:?} came to its end");
    }

    /// As [`Guest::framed`] in a call that a companion goes along with.
    pub(crate) async fn framed_along<T: Send + Sync + 'static>(
        &self,
        companion: T,
        input: &str,
    ) -> Result<String, String> {
        let call = Call::new(Kind::Text, argument(&[Input::Bytes(input.as_bytes())]));
        let result = self.function.call(call.with_companion(Arc::new(companion))).await;
        answer(&result.unwrap()).framed()
    }

    /// Calls the host function.
    pub(crate) async fn call(&self, inputs: &[Input<'_>]) -> Result<Answer, CallError> {
        Ok(answer(&self.function.handle(argument(inputs)).await?))
    }

    pub(crate) fn printed(&self) -> String {
        self.output.text(Stream::Stdout)
    }
}

/// What the guest of [`wat`] takes.
fn argument(inputs: &[Input<'_>]) -> Vec<u8> {
    let lengths = inputs.iter().map(|input| match input {
        Input::Bytes(bytes) => bytes.len() as u32,
        Input::Outside => u32::MAX,
        Input::EmptyOutside => u32::MAX - 1,
    });
    let mut argument: Vec<u8> = lengths.flat_map(u32::to_le_bytes).collect();
    for input in inputs {
        if let Input::Bytes(bytes) = input {
            argument.extend_from_slice(bytes);
        }
    }
    argument
}

/// What the guest of [`wat`] answers.
fn answer(result: &[u8]) -> Answer {
    let cell = |at: usize| u32::from_le_bytes(result[at..at + 4].try_into().unwrap());
    Answer { pointer: cell(0), length: cell(4), bytes: result[8..].to_vec() }
}

/// The guest's text. It frees nothing, and like a TinyGo module it traps when it is asked for a buffer of no bytes. Its
/// argument is the length of each input, then the inputs; its result is the two cells and what they point to.
pub(crate) fn wat(import: &str, inputs: usize, cells: Option<(u32, u32)>) -> String {
    let parameters = "i32 ".repeat(2 * inputs + if cells.is_some() { 2 } else { 0 });
    let mut locals = String::new();
    let mut read = String::new();
    let mut pass = String::new();
    for index in 0..inputs {
        let at = 4 * index;
        write!(locals, "(local $p{index} i32) (local $n{index} i32) ").unwrap();
        write!(
            read,
            "(local.set $n{index} (i32.load offset={at} (local.get $p)))
             (if (i32.ge_u (local.get $n{index}) (i32.const -2))
               (then (local.set $p{index} (i32.const {OUTSIDE}))
                     (local.set $n{index} (i32.shl (i32.and (local.get $n{index}) (i32.const 1)) (i32.const 4))))
               (else (local.set $p{index} (local.get $at))
                     (local.set $at (i32.add (local.get $at) (local.get $n{index})))))\n"
        )
        .unwrap();
        write!(pass, "(local.get $p{index}) (local.get $n{index}) ").unwrap();
    }
    if let Some((pointer, length)) = cells {
        write!(pass, "(i32.const {pointer}) (i32.const {length})").unwrap();
    }
    format!(
        r#"(module
          (import "env" "{import}" (func $host (param {parameters}) (result i32)))
          {ALLOCATE}
          (func (export "callHandle") (param $p i32) (param $n i32) (result i64) (local $at i32) {locals}
            (local.set $at (i32.add (local.get $p) (i32.const {header})))
            {read}
            (i64.store (i32.const 16) (i64.const 0))
            (drop (call $host {pass}))
            (call $answer)))"#,
        header = 4 * inputs,
    )
}

/// Memory, `malloc`, `allocateBuffer`, and `$answer`: the result from the cells at 16 and 20.
pub(crate) const ALLOCATE: &str = r#"
  (memory (export "memory") 1)
  (global $top (mut i32) (i32.const 4096))
  (func $malloc (export "malloc") (param $n i32) (result i32) (local $p i32)
    (local.set $p (global.get $top))
    (global.set $top (i32.and (i32.add (i32.add (global.get $top) (local.get $n)) (i32.const 15)) (i32.const -8)))
    (if (i32.gt_u (global.get $top) (i32.mul (memory.size) (i32.const 65536)))
      (then (if (i32.eq (i32.const -1) (memory.grow (i32.add (i32.shr_u (local.get $n) (i32.const 16)) (i32.const 2))))
        (then unreachable))))
    (local.get $p))
  (func (export "allocateBuffer") (param $n i32) (result i32)
    (if (i32.eqz (local.get $n)) (then unreachable))
    (call $malloc (local.get $n)))
  (func $answer (result i64) (local $r i32) (local $length i32)
    (local.set $length (i32.load (i32.const 20)))
    (local.set $r (call $malloc (i32.add (local.get $length) (i32.const 9))))
    (i32.store8 (local.get $r) (i32.const 83))
    (i64.store offset=1 (local.get $r) (i64.load (i32.const 16)))
    (memory.copy (i32.add (local.get $r) (i32.const 9)) (i32.load (i32.const 16)) (local.get $length))
    (i64.or (i64.shl (i64.extend_i32_u (local.get $r)) (i64.const 32))
            (i64.extend_i32_u (i32.add (local.get $length) (i32.const 9)))))
"#;
