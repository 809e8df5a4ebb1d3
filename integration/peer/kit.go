// Package peer runs Apache Kafka as a test's peer: its brokers and controllers
// as processes on loopback, its command line tools, and its Java clients driven
// by commands. It is how the tests ask software that nobody here wrote. The jars
// come from Maven once and stay in the user's cache directory.
package peer

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// Version is a release of Apache Kafka.
type Version string

// The releases that kvorum is tested with: the last line that knows ZooKeeper,
// and the newest whose tools are published.
const (
	V39 Version = "3.9.2"
	V43 Version = "4.3.1"
)

// Versions are all of them, oldest first.
var Versions = []Version{V39, V43}

// Kit is one release, fetched and ready to run.
type Kit struct {
	Version Version

	home      string // where jars and compiled classes of all releases are
	classpath string // jars, then the driver's classes
}

//go:embed pom.xml java/*.java
var sources embed.FS

// Require returns the kit of a release. Without Java, or without Maven and
// network to fetch the jars, the test is skipped with one line that says what is
// missing; KVORUM_PEERS=required makes that a failure, KVORUM_PEERS=off and
// -short skip at once.
func Require(t testing.TB, v Version) *Kit {
	t.Helper()
	mode := os.Getenv("KVORUM_PEERS")
	switch {
	case mode == "off":
		t.Skip("skipped: KVORUM_PEERS=off, so no Apache Kafka is started")
	case testing.Short() && mode != "required":
		t.Skip("skipped: -short, so no Apache Kafka is started")
	}
	k, err := open(v)
	if err != nil && mode == "required" {
		t.Fatalf("Apache Kafka %s is required (KVORUM_PEERS=required): %v", v, err)
	}
	if err != nil {
		t.Skipf("skipped: Apache Kafka %s cannot run here: %v", v, err)
	}
	return k
}

// opened keeps the kits of this test binary.
var opened struct {
	sync.Mutex
	kits map[Version]*Kit
	errs map[Version]error
}

// open makes a kit once for each release and test binary.
func open(v Version) (*Kit, error) {
	opened.Lock()
	defer opened.Unlock()
	if opened.kits == nil {
		opened.kits, opened.errs = map[Version]*Kit{}, map[Version]error{}
	}
	if opened.kits[v] == nil && opened.errs[v] == nil {
		opened.kits[v], opened.errs[v] = build(v)
	}
	return opened.kits[v], opened.errs[v]
}

// build fetches and compiles what is missing, under a lock between processes:
// go test runs the suites of several packages at once.
func build(v Version) (*Kit, error) {
	for _, tool := range []string{"java", "javac"} {
		if _, err := exec.LookPath(tool); err != nil {
			return nil, fmt.Errorf("%s is not installed: install a JDK, version 17 or later", tool)
		}
	}
	home := os.Getenv("KVORUM_PEERS_HOME")
	if home == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return nil, fmt.Errorf("no place for the jars: set KVORUM_PEERS_HOME: %w", err)
		}
		home = filepath.Join(cache, "kvorum-peers")
	}
	if err := os.MkdirAll(home, 0o755); err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(filepath.Join(home, "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return nil, fmt.Errorf("lock %s: %w", lock.Name(), err)
	}
	jars := filepath.Join(home, "kafka-"+string(v))
	if err := fetch(v, home, jars); err != nil {
		return nil, err
	}
	if err := writeLogging(home); err != nil {
		return nil, err
	}
	// The wildcard is Java's own; it keeps the command line short.
	k := &Kit{Version: v, home: home, classpath: filepath.Join(jars, "*")}
	classes, err := k.compile()
	if err != nil {
		return nil, err
	}
	k.classpath += ":" + classes
	return k, nil
}

// fetch copies the jars of a release into the directory jars, which appears when
// it is complete.
func fetch(v Version, home, jars string) error {
	if _, err := os.Stat(jars); err == nil {
		return nil
	}
	if _, err := exec.LookPath("mvn"); err != nil {
		return errors.New("its jars are not in " + jars + " and mvn is not installed to fetch them")
	}
	part, err := os.MkdirTemp(home, "part-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(part)
	pom, err := sources.ReadFile("pom.xml")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(part, "pom.xml"), pom, 0o644); err != nil {
		return err
	}
	args := []string{"-q", "-B", "-f", filepath.Join(part, "pom.xml"), "-Dkafka.version=" + string(v)}
	if v.major() >= 4 {
		args = append(args, "-P", "log4j2")
	}
	into := filepath.Join(part, "jars")
	args = append(args, "dependency:copy-dependencies", "-DoutputDirectory="+into, "-DincludeScope=runtime")
	if out, err := exec.Command("mvn", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("mvn cannot fetch its jars: %w: %s", err, firstLine(out))
	}
	return os.Rename(into, jars)
}

// compile compiles the Java sources of this package against the release and
// returns the directory of the classes, named by the sources' hash.
func (k *Kit) compile() (string, error) {
	names, err := fs.Glob(sources, "java/*.java")
	if err != nil {
		return "", err
	}
	sort.Strings(names)
	hash := sha256.New()
	for _, name := range names {
		text, err := sources.ReadFile(name)
		if err != nil {
			return "", err
		}
		hash.Write(text)
	}
	classes := filepath.Join(k.home, fmt.Sprintf("driver-%s-%s", k.Version, hex.EncodeToString(hash.Sum(nil)[:8])))
	if _, err := os.Stat(classes); err == nil {
		return classes, nil
	}
	part, err := os.MkdirTemp(k.home, "part-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(part)
	if err := os.CopyFS(part, sources); err != nil {
		return "", err
	}
	into := filepath.Join(part, "classes")
	args := []string{"-nowarn", "-d", into, "-cp", k.classpath}
	for _, name := range names {
		args = append(args, filepath.Join(part, name))
	}
	if out, err := exec.Command("javac", args...).CombinedOutput(); err != nil {
		return "", fmt.Errorf("compile the Java client: %w: %s", err, out)
	}
	return classes, os.Rename(into, classes)
}

// major is the first number of a version.
func (v Version) major() int { return int(v[0] - '0') }

func firstLine(text []byte) string {
	line, _, _ := strings.Cut(strings.TrimSpace(string(text)), "\n")
	return line
}

// The log configurations of the two generations: warnings and errors, on stderr.
const (
	log4j1 = `log4j.rootLogger=WARN, stderr
log4j.appender.stderr=org.apache.log4j.ConsoleAppender
log4j.appender.stderr.target=System.err
log4j.appender.stderr.layout=org.apache.log4j.PatternLayout
log4j.appender.stderr.layout.ConversionPattern=[%d] %p %m (%c)%n
`
	log4j2 = `Configuration:
  status: WARN
  Appenders:
    Console: {name: E, target: SYSTEM_ERR, PatternLayout: {pattern: "[%d] %p %m (%c)%n"}}
  Loggers:
    Root: {level: WARN, AppenderRef: [{ref: E}]}
`
)

func writeLogging(home string) error {
	if err := os.WriteFile(filepath.Join(home, "log4j.properties"), []byte(log4j1), 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(home, "log4j2.yaml"), []byte(log4j2), 0o644)
}

// smallJVM is for a test that runs many nodes: a small heap, and the first compiler
// alone, which starts a node sooner than both do.
var smallJVM = []string{"-Xms64m", "-Xmx384m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"}

// javaArgs are the arguments of the java command for a class.
func (k *Kit) javaArgs(class string, args ...string) []string {
	return k.javaArgsWith(smallJVM, class, args...)
}

func (k *Kit) javaArgsWith(jvm []string, class string, args ...string) []string {
	out := append(slices.Clone(jvm),
		"-Djava.awt.headless=true",
		"-Dlog4j.configuration=file:"+filepath.Join(k.home, "log4j.properties"),
		"-Dlog4j2.configurationFile=file:"+filepath.Join(k.home, "log4j2.yaml"),
		"-cp", k.classpath, class,
	)
	return append(out, args...)
}
