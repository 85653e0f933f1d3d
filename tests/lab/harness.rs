//! A lab of its own for this test run: real Docker hosts, driven through the real binary as an operator would.

use std::io::{BufRead, BufReader, Lines, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::RECOVERY;

/// Name and subnet differ from the defaults: a lab that somebody plays with on this machine is left alone.
const NAME: &str = "test";
const SUBNET: &str = "172.30.79.0/24";
/// Words of the steps that are wanted besides the set-up, with commas between them. For whoever writes a step; CI runs them all.
const STEPS: &str = "PGCLUSTERCTL_TEST_STEPS";
/// A folder whose lab stays when the test ends, and is found by the next one, which needs no set-up then. For the same people.
const KEEP: &str = "PGCLUSTERCTL_TEST_KEEP";

/// The file that says that a lab was set up.
const SET_UP: &str = "set-up";

/// A lab that is removed when the test ends, however it ends.
pub struct Lab {
    dir: PathBuf,
    pub vip: String,
    /// Whether it has yet to be set up.
    pub is_new: bool,
}

/// The status of a run that was killed.
const KILLED: i32 = -1;
/// That of one that was refused for what the cluster is like.
const REFUSED: i32 = 6;

/// What a run of the binary gave.
pub struct Run {
    pub status: i32,
    pub stdout: String,
    pub stderr: String,
    pub took: Duration,
}

impl Lab {
    /// Starts hosts and writes a topology with that many shard groups.
    pub fn start(shards: u32) -> Self {
        let dir = match std::env::var_os(KEEP) {
            Some(folder) => PathBuf::from(folder),
            None => tempfile::tempdir().expect("a temporary folder").keep(),
        };
        let is_new = !dir.join(SET_UP).exists();
        let lab = Self { dir, vip: SUBNET.replace(".0/24", ".100"), is_new };
        if !is_new {
            return lab;
        }
        // Leftovers of a run that was killed.
        lab.lab(&["down", "--yes"]);
        let folder = lab.path("").display().to_string();
        lab.lab(&["up", "--hosts", "3", "--shards", &shards.to_string(), "--subnet", SUBNET, "--dir", &folder]).ok();
        lab
    }

    /// Says that all is set up, for a test that finds it again.
    pub fn is_set_up(&self) {
        std::fs::write(self.path(SET_UP), "").expect("writable");
    }

    /// `pgclusterctl lab …` for this lab.
    pub fn lab(&self, args: &[&str]) -> Run {
        let mut all = vec!["lab"];
        all.extend(args);
        all.extend(["--name", NAME]);
        run(self.command(&all))
    }

    /// `pgclusterctl …` with this lab's topology.
    pub fn ctl(&self, args: &[&str]) -> Run {
        run(self.command(args))
    }

    /// The JSON result of a command that must succeed.
    pub fn json(&self, args: &[&str]) -> Value {
        let mut all = vec!["--format", "json"];
        all.extend(args);
        let run = self.ctl(&all).ok();
        serde_json::from_str(&run.stdout).unwrap_or_else(|e| panic!("{args:?} printed no JSON ({e}): {}", run.stdout))
    }

    /// What a command prints on that host, as its administrator runs it there.
    pub fn on_host(&self, host: &str, command: &str) -> String {
        let file = |name: &str| self.path(name).display().to_string();
        let known = format!("UserKnownHostsFile={}", file("known_hosts"));
        let address = host.replace("host", &SUBNET.replace(".0/24", ".1"));
        let mut ssh = Command::new("ssh");
        ssh.args(["-o", "BatchMode=yes", "-o", &known, "-i", &file("id_ed25519"), &format!("root@{address}"), command]);
        run(ssh).ok().stdout.trim().to_owned()
    }

    /// `docker pause` and the like for the container of a member on that host.
    pub fn docker(&self, host: &str, verb: &str, member: &str) {
        self.on_host(host, &format!("docker {verb} {}", container_of(member)));
    }

    /// A command that is not started yet.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pgclusterctl"));
        command.args(args).env("PGCLUSTERCTL_TOPOLOGY", self.path("topology.toml")).env("XDG_STATE_HOME", self.path("state"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// The same at a terminal of its own, where somebody gives this answer to what is asked. All that was on the screen is in `stdout`,
    /// with what was drawn over.
    pub fn at_a_terminal(&self, args: &[&str], answer: &str) -> Run {
        /// No line of what is shown is cut.
        const SIZE: &str = "stty rows 50 cols 300";
        let inner = self.command(args);
        let words = std::iter::once(inner.get_program()).chain(inner.get_args()).map(|word| word.to_str().expect("UTF-8"));
        let words = words.map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" ");
        let mut terminal = Command::new("script");
        terminal.args(["--quiet", "--return", "--flush", "--command", &format!("{SIZE} && {words}"), "/dev/null"]);
        terminal.envs(inner.get_envs().filter_map(|(key, value)| Some((key, value?)))).env("TERM", "xterm");
        terminal.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let started = Instant::now();
        let mut child = terminal.spawn().expect("script starts");
        let mut keyboard = child.stdin.take().expect("stdin is piped");
        writeln!(keyboard, "{answer}").expect("it reads");
        let output = child.wait_with_output().expect("it ends");
        drop(keyboard);
        finished(&output, started.elapsed())
    }

    /// Starts a command, to be listened to while it runs.
    pub fn start_command(&self, args: &[&str]) -> Running {
        let started = Instant::now();
        let mut child = self.command(args).spawn().expect("the binary starts");
        let stderr = BufReader::new(child.stderr.take().expect("stderr is piped")).lines();
        Running { child, stderr, said: Vec::new(), command: args.join(" "), started }
    }

    /// Starts a command and kills it with SIGKILL, so long after a line of it says that `point` is reached.
    pub fn kill_at(&self, args: &[&str], point: &str, is_reached: impl Fn(&str) -> bool, after: Duration) {
        let mut run = self.start_command(args);
        run.until(point, is_reached);
        std::thread::sleep(after);
        run.kill();
    }

    /// The same as soon as it tells that the wave began.
    pub fn kill_in_wave(&self, args: &[&str], wave: &str) {
        self.kill_at(args, wave, |line| begun(line) == Some(wave), Duration::ZERO);
    }

    /// Runs a command again and again until it comes to its end, and returns that run: in each of its steps and waves it is killed once,
    /// a moment after that began; `killed` is called with its name. Where all was done but for the last words, the end is an error.
    pub fn kill_in_every_step(&self, args: &[&str], mut killed: impl FnMut(&str)) -> Run {
        /// In the middle of it: most take longer.
        const MOMENT: Duration = Duration::from_millis(300);
        let (mut steps, mut killed_at) = (Vec::<String>::new(), Instant::now());
        loop {
            let mut run = self.start_command(args);
            let is_new = |line: &str| begun(line).is_some_and(|step| !steps.iter().any(|known| known == step));
            let Some(line) = run.next(is_new) else {
                let run = run.end();
                // Who was killed in the middle of a change of leader has to wait until that is over.
                if run.status == REFUSED && killed_at.elapsed() < RECOVERY {
                    std::thread::sleep(Duration::from_secs(1));
                    continue;
                }
                assert!(!steps.is_empty(), "it tells of no step:\n{}", run.stderr);
                note(format_args!("killed in {} steps: {}", steps.len(), steps.join("; ")));
                return run;
            };
            std::thread::sleep(MOMENT);
            let step = begun(&line).expect("as was asked for").to_owned();
            let ended = run.kill();
            if ended.status == 0 {
                return ended;
            }
            assert_eq!(ended.status, KILLED, "in '{step}' it failed by itself:\n{}", ended.stderr);
            killed(&step);
            steps.push(step);
            killed_at = Instant::now();
        }
    }

    /// The cluster is gone when somebody reads of the failure. Short, for a log that is cut: only what is not as it should be, and
    /// of etcd the last lines, and of coordinators errors and waits.
    fn last_words(&self) {
        let health = self.ctl(&["health"]);
        eprintln!("\n--- health after the failure: {}", health.stdout.trim_end().lines().last().unwrap_or_default());
        for line in health.stdout.lines().filter(|line| !line.contains(" pass ")).chain(health.stderr.lines()) {
            eprintln!("{line}");
        }
        for member in ["etcd-1", "etcd-2", "etcd-3"] {
            self.end_of_log(member, "4", |_| true);
        }
        let tells = |line: &str| ["still waiting", "ERROR", "FATAL", "PANIC"].iter().any(|word| line.contains(word));
        for member in ["coordinator-1", "coordinator-2", "coordinator-3"] {
            self.end_of_log(member, "60", tells);
        }
    }

    fn end_of_log(&self, member: &str, lines: &str, tells: impl Fn(&str) -> bool) {
        let log = self.ctl(&["logs", member, "--tail", lines]);
        eprintln!("--- the end of what {member} says");
        for line in log.stdout.lines().chain(log.stderr.lines()).filter(|line| tells(line)) {
            eprintln!("{}", line.chars().take(240).collect::<String>());
        }
    }

    /// A file of the lab.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.last_words();
        }
        if std::env::var_os(KEEP).is_none() {
            self.lab(&["down", "--yes"]);
            // What cannot be deleted is in nobody's way.
            let _ = std::fs::remove_dir_all(&self.dir);
        }
    }
}

/// A member's container, for a shell on its host.
pub fn container_of(member: &str) -> String {
    format!("$(docker ps -q --filter label=com.docker.swarm.service.name=pgcluster_{member})")
}

/// A command that runs.
pub struct Running {
    child: Child,
    stderr: Lines<BufReader<ChildStderr>>,
    said: Vec<String>,
    command: String,
    started: Instant,
}

impl Running {
    /// Listens until a line of it says that `point` is reached; that line.
    pub fn until(&mut self, point: &str, is_reached: impl Fn(&str) -> bool) -> String {
        let line = self.next(is_reached);
        line.unwrap_or_else(|| panic!("{} ended before it told of '{point}':\n{}", self.command, self.said.join("\n")))
    }

    /// The next line that is so; none when it ends before.
    fn next(&mut self, is_so: impl Fn(&str) -> bool) -> Option<String> {
        while let Some(Ok(line)) = self.stderr.next() {
            self.said.push(line.clone());
            if is_so(&line) {
                return Some(line);
            }
        }
        None
    }

    /// Kills it with SIGKILL. It may have been faster.
    pub fn kill(mut self) -> Run {
        self.child.kill().expect("it can be killed");
        self.end()
    }

    /// Listens to its end.
    pub fn end(mut self) -> Run {
        self.next(|_| false);
        let output = self.child.wait_with_output().expect("it ends");
        let mut run = finished(&output, self.started.elapsed());
        run.stderr = self.said.join("\n");
        run
    }
}

/// The step or wave that begins with this line. Steps are listed with their numbers before; one that begins ends in dots.
fn begun(line: &str) -> Option<&str> {
    match line.strip_prefix('[') {
        Some(rest) => rest.split_once("] ").map(|(_, wave)| wave),
        None => line.strip_suffix(" …").filter(|step| !step.starts_with(' ')),
    }
}

impl Run {
    /// Panics with everything that was printed unless the run succeeded.
    pub fn ok(self) -> Self {
        self.exits(0)
    }

    /// Panics with everything that was printed unless the run ended with this code.
    pub fn exits(self, status: i32) -> Self {
        assert_eq!(self.status, status, "\n--- stdout\n{}\n--- stderr\n{}", self.stdout, self.stderr);
        self
    }
}

fn run(mut command: Command) -> Run {
    let started = Instant::now();
    let output = command.output().expect("the binary starts");
    finished(&output, started.elapsed())
}

/// The outcome of a process.
pub fn finished(output: &Output, took: Duration) -> Run {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Run { status: output.status.code().unwrap_or(KILLED), stdout: text(&output.stdout), stderr: text(&output.stderr), took }
}

/// Runs a named step, and says how long it took. One line each: a log that is cut short shall still show what failed.
pub fn step<T>(name: &str, work: impl FnOnce() -> T) -> T {
    eprint!("{name} …");
    let started = Instant::now();
    let result = work();
    eprintln!(" {:.1} s", started.elapsed().as_secs_f64());
    result
}

/// A step that others do not need: left out when [`STEPS`] asks for others.
pub fn part(name: &str, work: impl FnOnce()) {
    if is_wanted(name) {
        step(name, work);
    }
}

/// Whether a step of that name is to run.
pub fn is_wanted(name: &str) -> bool {
    std::env::var(STEPS).map_or(true, |words| words.split(',').any(|word| name.contains(word.trim())))
}

/// Whether only some steps are to run.
pub fn is_partial() -> bool {
    std::env::var_os(STEPS).is_some()
}

/// Tells what was seen or measured within a step.
pub fn note(text: std::fmt::Arguments<'_>) {
    eprint!("\n    {text} …");
}

/// Tries again until it holds; panics with the last reason after the limit.
pub fn eventually(what: &str, limit: Duration, mut holds: impl FnMut() -> Result<(), String>) {
    let started = Instant::now();
    loop {
        match holds() {
            Ok(()) => return,
            Err(reason) if started.elapsed() > limit => panic!("{what} did not come true in {limit:?}: {reason}"),
            Err(_) => std::thread::sleep(Duration::from_millis(500)),
        }
    }
}
