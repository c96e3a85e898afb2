// Package s3test runs a real S3 server for tests: versitygw, on a free port of
// loopback, with its buckets in a folder of the test.
package s3test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// A Server answers S3's protocol at Endpoint.
type Server struct {
	Endpoint  string // "http://127.0.0.1:41234"
	AccessKey string
	SecretKey string
	Dir       string // of a folder for each bucket, which holds an object as a file of its name

	stop func()
}

// Region is the one that servers say they are in.
const Region = "us-east-1"

// Start starts a server for the time of a test. It fails the test if none is
// installed.
func Start(t testing.TB) *Server {
	t.Helper()
	dir := t.TempDir()
	var err error
	for range 5 { // another process may take the port before the server does
		var s *Server
		if s, err = start(dir); err == nil {
			t.Cleanup(s.stop)
			return s
		}
	}
	t.Fatal(err)
	return nil
}

func start(dir string) (*Server, error) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	address := free.Addr().String()
	if err := free.Close(); err != nil {
		return nil, err
	}
	s := New(dir, address)
	cmd, err := s.Command()
	if err != nil {
		return nil, err
	}
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	exited := make(chan struct{})
	go func() { _ = cmd.Wait(); close(exited) }()
	s.stop = func() { _ = cmd.Process.Kill(); <-exited }
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		err := s.Ready()
		select {
		case <-exited:
			return nil, fmt.Errorf("the S3 server ended: %s", said.Bytes())
		default:
		}
		if err == nil {
			return s, nil
		}
		if time.Now().After(end) {
			s.stop()
			return nil, fmt.Errorf("the S3 server does not answer: %w: %s", err, said.Bytes())
		}
	}
}

// New describes a server that keeps its buckets in dir and listens at an address,
// with keys of its own. It runs when what Command returns does.
func New(dir, address string) *Server {
	return &Server{Endpoint: "http://" + address, AccessKey: rand.Text(), SecretKey: rand.Text(), Dir: dir}
}

// Command is what runs the server.
func (s *Server) Command() (*exec.Cmd, error) {
	program, err := exec.LookPath("versitygw")
	if err != nil {
		return nil, errors.New("this test needs versitygw in $PATH: .ci/tools test installs it into .tools/bin")
	}
	u, err := url.Parse(s.Endpoint)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(program, "--port", u.Host, "--region", Region, "--health", "/health", "--quiet", "posix", s.Dir)
	cmd.Env = []string{"ROOT_ACCESS_KEY=" + s.AccessKey, "ROOT_SECRET_KEY=" + s.SecretKey}
	return cmd, nil
}

// Ready is nil when the server answers.
func (s *Server) Ready() error {
	resp, err := http.Get(s.Endpoint + "/health")
	if err != nil {
		return err
	}
	if err := resp.Body.Close(); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", resp.Request.URL, resp.Status)
	}
	return nil
}

// Stop ends the server of a test before the test ends.
func (s *Server) Stop() { s.stop() }

// Bucket makes a bucket for the duration of a test and returns its URL as a store.
// The keys are in the environment after [Server.Setenv].
func (s *Server) Bucket(t testing.TB, name string) string {
	t.Helper()
	dir := filepath.Join(s.Dir, name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return s.URL(name)
}

// URL is that of a bucket as a store.
func (s *Server) URL(bucket string) string {
	q := url.Values{"endpoint": {s.Endpoint}, "region": {Region}, "use_path_style": {"true"}}
	return "s3://" + bucket + "?" + q.Encode()
}

// Client has the keys of the server.
func (s *Server) Client() *s3.Client {
	return s3.New(s3.Options{
		BaseEndpoint: &s.Endpoint, Region: Region, UsePathStyle: true,
		Credentials: credentials.NewStaticCredentialsProvider(s.AccessKey, s.SecretKey, ""),
	})
}

// Environ are the variables in which clients of S3 find the keys, as "NAME=value".
func (s *Server) Environ() []string {
	return []string{"AWS_ACCESS_KEY_ID=" + s.AccessKey, "AWS_SECRET_ACCESS_KEY=" + s.SecretKey}
}

// Setenv gives the keys to the test's own process.
func (s *Server) Setenv(t testing.TB) {
	t.Setenv("AWS_ACCESS_KEY_ID", s.AccessKey)
	t.Setenv("AWS_SECRET_ACCESS_KEY", s.SecretKey)
}
