package plane

import (
	"bufio"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// benchServer names what the program of the benchmark serves: "plain", or "edge".
const benchServer = "TENON_BENCH_SERVER"

// TestServeForABenchmark is no test: the benchmark starts it, because the CPU time of a server is that
// of its process.
func TestServeForABenchmark(t *testing.T) {
	kind := os.Getenv(benchServer)
	if kind == "" {
		return
	}
	var address, token string
	if kind == "plain" {
		p, _ := planeOf(t, nil)
		address = listening(t, p)
	} else {
		public, private, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		jwks := fmt.Sprintf(`{"keys": [{"kty": "OKP", "crv": "Ed25519", "x": %q}]}`, base64.RawURLEncoding.EncodeToString(public))
		if err := os.WriteFile(filepath.Join(dir, "jwks"), []byte(jwks), 0o600); err != nil {
			t.Fatal(err)
		}
		claims := jwt.MapClaims{"iss": "https://id.example", "aud": "api", "sub": "alice", "scope": "openid profile predict", "exp": time.Now().Add(time.Hour).Unix()}
		if token, err = jwt.NewWithClaims(jwt.SigningMethodEdDSA, claims).SignedString(private); err != nil {
			t.Fatal(err)
		}
		_, _, address, _, _ = secured(t, `{"audit": {"keep": "1GiB"}, "limits": {"rate": 1000000, "concurrency": 100},
			"auth": {"jwt": {"issuer": "https://id.example", "audience": "api", "jwks": "`+filepath.Join(dir, "jwks")+`", "algorithms": ["EdDSA"], "leeway": "1s", "refresh": "1h"}}}`, nil)
	}
	if err := json.NewEncoder(os.Stdout).Encode([]string{address, token}); err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, os.Stdin) // until the benchmark has ended
}

// TLS, a token, a limit and the audit log together cost at most 15 us of CPU for a request. The
// metric us-cpu/op is the CPU time of the process of the server, for small requests on 8
// connections that stay open.
func BenchmarkEdge(b *testing.B) {
	for _, kind := range []string{"plain", "edge"} {
		b.Run(kind, func(b *testing.B) {
			cmd := exec.Command(os.Args[0], "-test.run=^TestServeForABenchmark$")
			cmd.Env = append(os.Environ(), benchServer+"="+kind, "GOMAXPROCS=1")
			stop, err := cmd.StdinPipe()
			if err != nil {
				b.Fatal(err)
			}
			out, err := cmd.StdoutPipe()
			if err != nil {
				b.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				b.Fatal(err)
			}
			var at []string
			if err := json.NewDecoder(out).Decode(&at); err != nil {
				b.Fatal(err)
			}
			_, x := readExported(b, "hist")
			var doc struct{ Instances []json.RawMessage }
			if err := json.Unmarshal(x.Request, &doc); err != nil {
				b.Fatal(err)
			}
			body := fmt.Sprintf(`{"instances": [%s]}`, doc.Instances[0])
			text := fmt.Sprintf("POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n", len(body))
			if at[1] != "" {
				text += "Authorization: Bearer " + at[1] + "\r\n"
			}
			text += "\r\n" + body
			const clients = 8
			each := b.N/clients + 1
			load := func(requests int) {
				var all sync.WaitGroup
				for range clients {
					all.Go(func() {
						var c net.Conn
						var err error
						if at[1] != "" {
							c, err = tls.Dial("tcp", at[0], &tls.Config{InsecureSkipVerify: true})
						} else {
							c, err = net.Dial("tcp", at[0])
						}
						if err != nil {
							b.Error(err)
							return
						}
						defer c.Close()
						r := bufio.NewReader(c)
						for range requests {
							if _, err := io.WriteString(c, text); err != nil {
								b.Error(err)
								return
							}
							resp, err := http.ReadResponse(r, nil)
							if err != nil || resp.StatusCode != 200 {
								b.Errorf("%v %v", resp, err)
								return
							}
							_, _ = io.Copy(io.Discard, resp.Body)
						}
					})
				}
				all.Wait()
			}
			load(50)
			before := cpuOf(b, cmd.Process.Pid)
			b.ResetTimer()
			load(each)
			b.StopTimer()
			used := cpuOf(b, cmd.Process.Pid) - before
			b.ReportMetric(float64(used.Microseconds())/float64(each*clients), "us-cpu/op")
			_ = stop.Close()
			_, _ = io.Copy(io.Discard, out)
			if err := cmd.Wait(); err != nil {
				b.Error(err)
			}
		})
	}
}

// cpuOf is the CPU time of a process that runs, in steps of ten milliseconds.
func cpuOf(b *testing.B, pid int) time.Duration {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		b.Fatal(err)
	}
	var user, system int64
	// The name of the program ends with the last bracket.
	for i := len(text) - 1; i > 0; i-- {
		if text[i] == ')' {
			var skip string
			var skipped int64
			if _, err := fmt.Sscan(string(text[i+1:]), &skip, &skipped, &skipped, &skipped, &skipped, &skipped, &skipped, &skipped, &skipped, &skipped, &skipped, &user, &system); err != nil {
				b.Fatal(err)
			}
			break
		}
	}
	return time.Duration(user+system) * 10 * time.Millisecond
}
