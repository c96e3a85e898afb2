package worker_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/model"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/worker"
)

// What the worker of these tests does for a row with such a number. Any other one is doubled.
const (
	dies    = -1
	hangs   = -2
	refuses = -3
	fails   = -4
	asksPID = -5
)

const asWorker = "TENON_TEST_WORKER"

// TestMain makes this program the worker, too.
func TestMain(m *testing.M) {
	if os.Getenv(asWorker) != "" {
		work(os.Args[1])
		return
	}
	os.Setenv(asWorker, "1")
	os.Exit(m.Run())
}

// work is the worker. The file says how it starts.
func work(file string) {
	how, _ := os.ReadFile(file)
	switch string(how) {
	case "dies":
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	case "exits":
		_ = syscall.Close(3) // as programs do that take their time to end
		fmt.Fprint(os.Stderr, "Traceback (most recent call last):\n  File \"model.py\", line 1\nModuleNotFoundError: No module named 'x'\n")
		time.Sleep(200 * time.Millisecond)
		os.Exit(7)
	}
	conn, err := net.FileConn(os.NewFile(3, ""))
	if err != nil {
		panic(err)
	}
	schema := receive(conn)
	send(conn, []byte(`{"classes":[],"names":[],"probabilities":false}`))
	if string(how) == "rows" {
		workRows(conn, schema)
	}
	for {
		frame := receive(conn)
		r, err := ipc.NewReader(io.MultiReader(bytes.NewReader(schema), bytes.NewReader(frame)))
		if err != nil || !r.Next() {
			panic(fmt.Sprint(err, r.Err()))
		}
		column := r.RecordBatch().Column(0).(*array.Float64)
		answer := []byte{0}
		for i := range column.Len() {
			x := column.Value(i)
			switch x {
			case dies:
				_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
				select {}
			case hangs:
				select {}
			case refuses:
				answer = fmt.Appendf([]byte{1}, `{"row":%d,"column":"x","says":"no such number"}`, i)
			case fails:
				answer = []byte{2}
			case asksPID:
				x = float64(os.Getpid()) / 2
			}
			if answer[0] != 0 {
				break
			}
			answer = binary.LittleEndian.AppendUint64(answer, math.Float64bits(2*x))
		}
		send(conn, answer)
	}
}

func receive(conn net.Conn) []byte {
	head := make([]byte, 4)
	if _, err := io.ReadFull(conn, head); err != nil {
		os.Exit(0)
	}
	b := make([]byte, binary.LittleEndian.Uint32(head))
	if _, err := io.ReadFull(conn, b); err != nil {
		os.Exit(0)
	}
	return b
}

func send(conn net.Conn, b []byte) {
	_, _ = conn.Write(append(binary.LittleEndian.AppendUint32(nil, uint32(len(b))), b...))
}

// A tested is a pool with what it has said.
type tested struct {
	*worker.Pool
	how      string // file
	restarts atomic.Int64
	largest  atomic.Int64
}

func options(t testing.TB, x *tested, change func(*worker.Options)) worker.Options {
	x.how = filepath.Join(t.TempDir(), "how")
	o := worker.Options{
		Command: []string{os.Args[0], x.how}, Processes: 1, Timeout: 10 * time.Second, Warm: []rowsql.Value{rowsql.Float(1)},
		Signature: &ir.Signature{Task: "regression", Input: ir.Schema{{Name: "x", Type: "float64"}}, Output: ir.Column{Name: "y", Type: "float64"}},
		Log:       func(s string) { t.Log(s) }, Restarted: func(string) { x.restarts.Add(1) },
		Asked: func(rows int) {
			for {
				if old := x.largest.Load(); int64(rows) <= old || x.largest.CompareAndSwap(old, int64(rows)) {
					return
				}
			}
		},
	}
	if change != nil {
		change(&o)
	}
	return o
}

func start(t testing.TB, change func(*worker.Options)) *tested {
	t.Helper()
	x := new(tested)
	var err error
	if x.Pool, err = worker.Start(options(t, x, change)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(x.Close)
	return x
}

func (x *tested) ask(numbers ...float64) ([]float64, error) {
	var rows []rowsql.Value
	for _, n := range numbers {
		rows = append(rows, rowsql.Float(n))
	}
	outputs := make([]float64, len(numbers))
	err := x.Predict(context.Background(), rows, outputs, nil)
	return outputs, err
}

func TestAnswersAndRefusals(t *testing.T) {
	x := start(t, nil)
	if got, err := x.ask(1, 2.5, 0); err != nil || fmt.Sprint(got) != "[2 5 0]" {
		t.Errorf("%v %v", got, err)
	}
	_, err := x.ask(1, refuses, 3)
	var row *model.RowError
	var value *model.ValueError
	if !errors.As(err, &row) || row.Row != 1 || !errors.As(err, &value) || value.Column != "x" || value.Reason != "no such number" {
		t.Errorf("%v", err)
	}
	if _, err := x.ask(fails); err == nil || !strings.Contains(err.Error(), "the model failed") {
		t.Errorf("%v", err)
	}
	if got, err := x.ask(4); err != nil || got[0] != 8 || x.restarts.Load() != 0 {
		t.Errorf("%v %v after %d restarts", got, err, x.restarts.Load())
	}
}

// Each client gets its own answers, while one of two workers is killed again and again.
func TestNoRequestIsLostWithAWorker(t *testing.T) {
	x := start(t, func(o *worker.Options) { o.Processes, o.BatchRows = 2, 16 })
	stop, failed, answered := make(chan struct{}), atomic.Int64{}, atomic.Int64{}
	var clients sync.WaitGroup
	for c := range 64 {
		clients.Go(func() {
			for i := 1.0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				n := float64(c)*1000 + i
				if got, err := x.ask(n, n+0.5); err != nil || got[0] != 2*n || got[1] != 2*n+1 {
					t.Errorf("%v: %v %v", n, got, err)
					failed.Add(1)
					return
				}
				answered.Add(1)
			}
		})
	}
	for range 10 {
		time.Sleep(50 * time.Millisecond)
		got, err := x.ask(asksPID)
		if err != nil {
			t.Fatal(err)
		}
		_ = syscall.Kill(int(got[0]), syscall.SIGKILL)
	}
	close(stop)
	clients.Wait()
	if failed.Load() > 0 || answered.Load() < 100 || x.restarts.Load() < 5 {
		t.Errorf("%d failed of %d, %d restarts", failed.Load(), answered.Load(), x.restarts.Load())
	}
}

// Rows that end every worker fail, and no others.
func TestARequestThatEndsWorkersFails(t *testing.T) {
	for _, batch := range []int{0, 64} {
		x := start(t, func(o *worker.Options) {
			if o.BatchRows = batch; batch > 0 {
				o.BatchDelay = 100 * time.Millisecond
			}
		})
		var all sync.WaitGroup
		for i := range 4 {
			all.Go(func() {
				if got, err := x.ask(float64(i)); err != nil || got[0] != 2*float64(i) {
					t.Errorf("%d: %v %v", i, got, err)
				}
			})
		}
		if _, err := x.ask(dies); err == nil || !strings.Contains(err.Error(), "two workers have ended") {
			t.Errorf("%v", err)
		}
		all.Wait()
		if got, err := x.ask(3); err != nil || got[0] != 6 {
			t.Errorf("afterwards: %v %v", got, err)
		}
	}
}

func TestAWorkerThatHangsIsKilled(t *testing.T) {
	x := start(t, func(o *worker.Options) { o.Timeout = 200 * time.Millisecond })
	before, _ := x.ask(asksPID)
	if _, err := x.ask(hangs); !errors.Is(err, worker.ErrTimeout) {
		t.Errorf("%v", err)
	}
	after, err := x.ask(asksPID)
	if err != nil || before[0] == after[0] || x.restarts.Load() != 1 {
		t.Errorf("%v %v %v, %d restarts", before, after, err, x.restarts.Load())
	}
}

// While a worker is busy, requests gather for its next batch. One that is refused spoils no
// other of its batch.
func TestRequestsThatWaitShareABatch(t *testing.T) {
	x := start(t, func(o *worker.Options) { o.BatchRows, o.BatchDelay = 8, 200*time.Millisecond })
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			n := float64(i)
			if i%5 == 4 {
				n = refuses
			}
			got, err := x.ask(n)
			if n == refuses {
				if !errors.As(err, new(*model.RowError)) {
					t.Errorf("%d: %v", i, err)
				}
			} else if err != nil || got[0] != 2*n {
				t.Errorf("%d: %v %v", i, got, err)
			}
		})
	}
	all.Wait()
	if n := x.largest.Load(); n < 4 || n > 8 {
		t.Errorf("a batch has %d rows, wanted up to 8", n)
	}
}

func TestAClientThatLeaves(t *testing.T) {
	x := start(t, func(o *worker.Options) { o.Timeout = 300 * time.Millisecond })
	ctx, leave := context.WithCancel(context.Background())
	var hung sync.WaitGroup
	hung.Go(func() { _, _ = x.ask(hangs) })
	time.Sleep(50 * time.Millisecond)
	leave()
	if err := x.Predict(ctx, []rowsql.Value{rowsql.Float(dies)}, make([]float64, 1), nil); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	hung.Wait()
	if got, err := x.ask(1); err != nil || got[0] != 2 || x.restarts.Load() != 1 {
		t.Errorf("%v %v: nobody wanted the rows that end a worker, but it ended %d times", got, err, x.restarts.Load())
	}
}

// A worker that dies with the rows of a client that has left is not asked for them again.
func TestRowsThatNobodyWaitsForAreNotTriedAgain(t *testing.T) {
	asked := make(chan int, 10)
	x := start(t, func(o *worker.Options) {
		o.Timeout, o.Asked = time.Minute, func(rows int) { asked <- rows }
	})
	pid, err := x.ask(asksPID)
	if err != nil {
		t.Fatal(err)
	}
	<-asked
	ctx, leave := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- x.Predict(ctx, []rowsql.Value{rowsql.Float(hangs)}, make([]float64, 1), nil) }()
	<-asked
	leave()
	time.Sleep(100 * time.Millisecond)
	_ = syscall.Kill(int(pid[0]), syscall.SIGKILL)
	select {
	case err := <-done:
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("another worker is asked")
	}
	if got, err := x.ask(1); err != nil || got[0] != 2 {
		t.Errorf("%v %v", got, err)
	}
}

func TestAModelThatCannotBeLoaded(t *testing.T) {
	x := new(tested)
	o := options(t, x, func(o *worker.Options) { o.Processes = 2 })
	if err := os.WriteFile(x.how, []byte("exits"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := worker.Start(o); err == nil || err.Error() != "a worker ended with status 7: ModuleNotFoundError: No module named 'x'" {
		t.Errorf("%v", err)
	}
}

// If a worker keeps ending before it is ready, it is not started again, and waiting requests fail.
func TestAWorkerThatNeverGetsReadyAgain(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes the pauses of five starts")
	}
	x := start(t, nil)
	if err := os.WriteFile(x.how, []byte("dies"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := x.ask(dies); err == nil || err.Error() != "a worker was killed by SIGKILL" {
		t.Errorf("%v", err)
	}
	<-x.Failed()
	if _, err := x.ask(1); err == nil || x.Err() == nil {
		t.Errorf("%v, %v", err, x.Err())
	}
}

func TestWorkersEndWithThePool(t *testing.T) {
	x := start(t, func(o *worker.Options) { o.Processes = 3 })
	got, err := x.ask(asksPID)
	if err != nil {
		t.Fatal(err)
	}
	x.Close()
	if err := syscall.Kill(int(got[0]), 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("a worker still runs: %v", err)
	}
}

// BenchmarkRoundTrip measures how long a request takes to a model in another process, in Go and with
// nothing to compute: what it costs that a model is in a process of its own. p50-ns is the median.
func BenchmarkRoundTrip(b *testing.B) {
	x := start(b, nil)
	var took []time.Duration
	for b.Loop() {
		began := time.Now()
		if _, err := x.ask(1); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2]), "p50-ns")
}
