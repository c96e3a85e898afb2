package worker_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/model"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/worker"
)

// made are the columns that the worker of these tests computes: the double of x, and its text.
var made = ir.Schema{{Name: "double", Type: "float64"}, {Name: "text", Type: "string", Nullable: true}}

// workRows answers as tenon_row_worker.py does.
func workRows(conn net.Conn, schema []byte) {
	for {
		r, err := ipc.NewReader(io.MultiReader(bytes.NewReader(schema), bytes.NewReader(receive(conn))))
		if err != nil || !r.Next() {
			panic(fmt.Sprint(err, r.Err()))
		}
		column := r.RecordBatch().Column(0).(*array.Float64)
		b := array.NewRecordBuilder(memory.DefaultAllocator, arrow.NewSchema([]arrow.Field{{Name: "double", Type: arrow.PrimitiveTypes.Float64}, {Name: "text", Type: arrow.BinaryTypes.String}}, nil))
		var said []string
		for i := range column.Len() {
			x := column.Value(i)
			switch x {
			case dies:
				_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
				select {}
			case hangs:
				select {}
			case refuses:
				said = append(said, fmt.Sprintf(`{"row":%d,"column":"text","says":"no such number"}`, i))
			case fails:
				said = append(said, fmt.Sprintf(`{"row":%d,"says":"KeyError","failed":true}`, i))
			case asksPID:
				x = float64(os.Getpid()) / 2
			}
			if x == refuses || x == fails {
				b.Field(0).AppendNull()
				b.Field(1).AppendNull()
				continue
			}
			b.Field(0).(*array.Float64Builder).Append(2 * x)
			b.Field(1).(*array.StringBuilder).Append(fmt.Sprint(x))
		}
		list := "[" + strings.Join(said, ",") + "]"
		var out bytes.Buffer
		out.WriteByte(0)
		_ = binary.Write(&out, binary.LittleEndian, uint32(len(list)))
		out.WriteString(list)
		record := b.NewRecordBatch()
		w := ipc.NewWriter(&out, ipc.WithSchema(record.Schema()))
		if err := errors.Join(w.Write(record), w.Close()); err != nil {
			panic(err)
		}
		send(conn, out.Bytes())
	}
}

func startRows(t *testing.T, x *tested, change func(*worker.Options)) *worker.Rows {
	t.Helper()
	o := options(t, x, change)
	if err := os.WriteFile(x.how, []byte("rows"), 0o644); err != nil {
		t.Fatal(err)
	}
	o.Signature = &ir.Signature{Input: o.Signature.Input}
	r, err := worker.StartRows(o, "features.f", made)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

func floats(all ...float64) (rows []rowsql.Value) {
	for _, x := range all {
		rows = append(rows, rowsql.Float(x))
	}
	return rows
}

func TestRowsAndTheirRefusals(t *testing.T) {
	r := startRows(t, new(tested), nil)
	got, errs, err := r.Compute(t.Context(), floats(1, refuses, 2.5, fails), 4)
	if err != nil {
		t.Fatal(err)
	}
	want := []rowsql.Value{rowsql.Float(2), rowsql.String("1"), rowsql.Null, rowsql.Null, rowsql.Float(5), rowsql.String("2.5"), rowsql.Null, rowsql.Null}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("value %d is %v, wanted %v", i, got[i], want[i])
		}
	}
	var value *model.ValueError
	var failed *worker.FailedError
	if errs[0] != nil || errs[2] != nil || !errors.As(errs[1], &value) || value.Column != "text" || value.Reason != "no such number" ||
		!errors.As(errs[3], &failed) || failed.Name != "features.f" || failed.Says != "KeyError" {
		t.Errorf("%v", errs)
	}
	// What is in the memory of an answer stays when that is used again.
	if _, _, err := r.Compute(t.Context(), floats(7777, 7777, 7777, 7777), 4); err != nil || got[1].Text != "1" {
		t.Errorf("%v %q", err, got[1].Text)
	}
}

// Each client gets its own rows, while workers are killed again and again.
func TestNoRowIsLostWithAWorker(t *testing.T) {
	x := new(tested)
	r := startRows(t, x, func(o *worker.Options) { o.Processes, o.BatchRows = 2, 64 })
	stop, failed, done := make(chan struct{}), atomic.Int64{}, atomic.Int64{}
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
				got, errs, err := r.Compute(t.Context(), floats(n, refuses, n+0.5), 3)
				if err != nil || got[0].Float() != 2*n || got[4].Float() != 2*n+1 || errs[0] != nil || errs[1] == nil || errs[2] != nil {
					t.Errorf("%v: %v %v %v", n, got, errs, err)
					failed.Add(1)
					return
				}
				done.Add(1)
			}
		})
	}
	for range 10 {
		time.Sleep(50 * time.Millisecond)
		got, _, err := r.Compute(t.Context(), floats(asksPID), 1)
		if err != nil {
			t.Fatal(err)
		}
		_ = syscall.Kill(int(got[0].Float()), syscall.SIGKILL)
	}
	close(stop)
	clients.Wait()
	if failed.Load() > 0 || done.Load() < 100 || x.restarts.Load() < 5 || x.largest.Load() <= 3 {
		t.Errorf("%d failed of %d, %d restarts, batches of up to %d rows", failed.Load(), done.Load(), x.restarts.Load(), x.largest.Load())
	}
}

// Rows that a function never computes say which function it is.
func TestAFunctionThatHangsOrDies(t *testing.T) {
	r := startRows(t, new(tested), func(o *worker.Options) { o.Timeout = 200 * time.Millisecond })
	if _, _, err := r.Compute(t.Context(), floats(hangs), 1); !errors.Is(err, worker.ErrTimeout) || err.Error() != "features.f did not answer in time" {
		t.Errorf("%v", err)
	}
	if _, _, err := r.Compute(t.Context(), floats(dies), 1); err == nil || !strings.HasPrefix(err.Error(), "features.f: two workers have ended") {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, _, err := r.Compute(ctx, floats(hangs), 1); !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, worker.ErrTimeout) {
		t.Errorf("%v", err)
	}
	if got, _, err := r.Compute(t.Context(), floats(4), 1); err != nil || got[0].Float() != 8 {
		t.Errorf("afterwards: %v %v", got, err)
	}
}
