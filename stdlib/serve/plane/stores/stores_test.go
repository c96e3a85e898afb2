package stores

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tenon-ml/tenon/internal/test/postgrestest"
	"github.com/tenon-ml/tenon/internal/test/redistest"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
)

func redisSpec(t *testing.T, s *redistest.Server) Spec {
	t.Setenv("STORE_REDIS", redistest.Password)
	return Spec{Kind: "redis", URL: s.URL(), Password: "STORE_REDIS", Prefix: "tenon", Timeout: "2s", Connections: 4, Keep: "1h"}
}

func postgresSpec(t *testing.T, s *postgrestest.Server) Spec {
	t.Setenv("STORE_POSTGRES", postgrestest.Password)
	return Spec{Kind: "postgres", URL: strings.Replace(s.Database(), ":"+postgrestest.Password, "", 1), Password: "STORE_POSTGRES", Schema: "tenon", Timeout: "2s", Connections: 4, Keep: "1h"}
}

func open(t *testing.T, s Spec) Store {
	t.Helper()
	store, err := Open(s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(store.Close)
	return store
}

type entry struct{ key, row string }

func write(t *testing.T, s Store, version string, ordered bool, entries ...entry) {
	t.Helper()
	i := 0
	err := s.Write(t.Context(), version, Info{Rows: int64(len(entries)), Ordered: ordered}, func() (key, row []byte, err error) {
		if i == len(entries) {
			return nil, nil, nil
		}
		i++
		return []byte(entries[i-1].key), []byte(entries[i-1].row), nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func get(t *testing.T, s Store, version string, wants ...rowsql.Want) []entry {
	t.Helper()
	info, err := s.Use(t.Context(), version)
	if err != nil {
		t.Fatal(err)
	}
	found := make([]entry, len(wants))
	err = s.Get(t.Context(), version, info, wants, func(i int, key, row []byte) error {
		if found[i] = (entry{string(key), string(row)}); key == nil {
			found[i] = entry{"", "none"}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func exactly(key string) rowsql.Want { return rowsql.Want{Key: []byte(key), Size: len(key)} }

func nearest(key, end string, size int, last bool) rowsql.Want {
	return rowsql.Want{Key: []byte(key), End: []byte(end), Last: last, Size: size}
}

// Both stores give exactly what was written, in any bytes.
func TestStores(t *testing.T) {
	postgres := postgrestest.Start(t)
	for kind, s := range map[string]Spec{"redis": redisSpec(t, redistest.Start(t)), "cluster": clusterSpec(t, redistest.StartCluster(t, 3)), "postgres": postgresSpec(t, postgres)} {
		t.Run(kind, func(t *testing.T) {
			store := open(t, s)
			if _, err := store.Use(t.Context(), "a"); !errors.Is(err, ErrNone) {
				t.Fatalf("a version that nobody has written: %v", err)
			}
			var many []entry
			for i := range 3000 {
				many = append(many, entry{fmt.Sprintf("\x01%d\x00\xff", i), fmt.Sprintf("row \x00\xff%d", i)})
			}
			write(t, store, "a", false, many...)
			write(t, store, "b", false, entry{many[7].key, "of another version"})
			write(t, store, "a", false, many...) // again, as after an interruption
			var wants []rowsql.Want
			for i := 2999; i >= 0; i -= 7 {
				wants = append(wants, exactly(many[i].key), exactly(many[i].key+"\x00"))
			}
			for i, got := range get(t, store, "a", wants...) {
				want := entry{"", "none"}
				if i%2 == 0 {
					want = many[2999-i/2*7]
				}
				if got != want {
					t.Fatalf("want %d: got %q, want %q", i, got, want)
				}
			}
			if got := get(t, store, "b", exactly(many[7].key), exactly(many[8].key)); got[0].row != "of another version" || got[1].row != "none" {
				t.Errorf("version b has %q", got)
			}

			at := func(n int) string { return "\x00\x00\x00\x00\x00\x00\x01" + string([]byte{byte(n)}) }
			write(t, store, "ordered", true, entry{"k" + at(10), "\x01ten"}, entry{"k" + at(20), "\x01twenty"}, entry{"l" + at(15), "\x01other"}, entry{at(5), "\x01without a key"})
			beyond := strings.Repeat("\xff", 9)
			got := get(t, store, "ordered",
				nearest("k", "k"+at(20)+"\xff", 9, true), nearest("k", "k"+at(20), 9, true), nearest("k", "k"+at(10), 9, true), nearest("k", "k"+beyond, 9, true),
				nearest("m", "m"+at(20), 9, true), nearest("", at(5), 8, true), nearest("", at(6), 8, true))
			for i, want := range []string{"\x01twenty", "\x01ten", "none", "\x01twenty", "none", "none", "\x01without a key"} {
				if got[i].row != want {
					t.Errorf("latest row %d is %q, want %q", i, got[i].row, want)
				}
			}
			got = get(t, store, "ordered", nearest("k"+at(10), "k"+beyond, 9, false), nearest("k"+at(10)+"\xff", "k"+beyond, 9, false), nearest("k"+at(21), "k"+beyond, 9, false))
			for i, want := range []string{"\x01ten", "\x01twenty", "none"} {
				if got[i].row != want {
					t.Errorf("next row %d is %q, want %q", i, got[i].row, want)
				}
			}
			if got[0].key != "k"+at(10) {
				t.Errorf("its key is %q", got[0].key)
			}
			write(t, store, "empty", false)
			if got := get(t, store, "empty", exactly("k")); got[0].row != "none" {
				t.Errorf("an empty table has %q", got)
			}
		})
	}
}

// A version stays while somebody uses it, and goes when nobody has for long.
func TestVersionsThatNobodyUsesGo(t *testing.T) {
	for kind, s := range map[string]Spec{"redis": redisSpec(t, redistest.Start(t)), "cluster": clusterSpec(t, redistest.StartCluster(t, 3)), "postgres": postgresSpec(t, postgrestest.Start(t))} {
		t.Run(kind, func(t *testing.T) {
			store := open(t, s)
			switch s := store.(type) {
			case *redisStore:
				s.keep = time.Second
			case *postgresStore:
				s.keep = time.Second
			}
			write(t, store, "used", false, entry{"k", "v"})
			write(t, store, "unused", false, entry{"k", "v"})
			for start := time.Now(); time.Since(start) < 1500*time.Millisecond; time.Sleep(100 * time.Millisecond) {
				get(t, store, "used", exactly("k"))
			}
			write(t, store, "next", false)
			if _, err := store.Use(t.Context(), "unused"); !errors.Is(err, ErrNone) {
				t.Errorf("the version that nobody used: %v", err)
			}
			if got := get(t, store, "used", exactly("k")); got[0].row != "v" {
				t.Errorf("the one in use has %q", got)
			}
		})
	}
}

// What a store has lost is an error, and not a row that is not there.
func TestALostPartOfATableIsNoMissingRow(t *testing.T) {
	store := open(t, redisSpec(t, redistest.Start(t))).(*redisStore)
	ctx := t.Context()
	write(t, store, "a", false, entry{"k", "v"})
	write(t, store, "o", true, entry{"k12345678", "v"})
	write(t, store, "row", false, entry{"k", "v"}, entry{"l", "v"})
	if _, err := store.do(ctx, command{"HDEL", []any{store.bucket("row", 0), "l"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Use(ctx, "row"); !errors.Is(err, ErrNone) {
		t.Errorf("a version without a row is whole: %v", err)
	}
	for _, version := range []string{"a", "o"} {
		info, err := store.Use(ctx, version)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := store.do(ctx, command{"DEL", []any{store.bucket(version, 0)}}); err != nil {
			t.Fatal(err)
		}
		want := exactly("k")
		if info.Ordered {
			want = nearest("k", "k9", 9, true)
		}
		if err := store.Get(ctx, version, info, []rowsql.Want{want}, nil); !errors.Is(err, errLost) {
			t.Errorf("%s: %v", version, err)
		}
		if _, err := store.Use(ctx, version); !errors.Is(err, ErrNone) {
			t.Errorf("%s is whole: %v", version, err)
		}
	}
}

// A store that is away is an error within the timeout, and works again once it is back.
func TestAStoreThatIsAway(t *testing.T) {
	server := redistest.Start(t)
	store := open(t, redisSpec(t, server)).(*redisStore)
	write(t, store, "a", false, entry{"k", "v"})
	var idle []rowsql.Want
	for range 3 {
		idle = append(idle, exactly("k"))
	}
	get(t, store, "a", idle...)
	server.Stop()
	start := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if err := store.Get(ctx, "a", Info{Buckets: 1}, idle, nil); err == nil || time.Since(start) > 3*time.Second {
		t.Errorf("%v after %s", err, time.Since(start))
	}
	server.Again()
	if _, err := store.Use(t.Context(), "a"); !errors.Is(err, ErrNone) {
		t.Errorf("a server that has lost all: %v", err)
	}
	write(t, store, "a", false, entry{"k", "v"})
	if got := get(t, store, "a", exactly("k")); got[0].row != "v" {
		t.Errorf("%q", got)
	}
}

// What Redis has under the key of a version need not be a table.
func TestAKeyThatIsNotATable(t *testing.T) {
	store := open(t, redisSpec(t, redistest.Start(t))).(*redisStore)
	for text, want := range map[string]string{`{}`: "tenon:v is not a table: it has 0 parts", `x`: "tenon:v is not a table: invalid character 'x' looking for beginning of value"} {
		if _, err := store.do(t.Context(), command{"SET", []any{"tenon:v", text}}); err != nil {
			t.Fatal(err)
		}
		if _, err := store.Use(t.Context(), "v"); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}

func TestStoresThatAreNone(t *testing.T) {
	for want, s := range map[string]Spec{
		"not a URL of Redis":              {Kind: "redis", URL: "localhost:6379", Timeout: "1s", Keep: "1h"},
		"is not given":                    {Kind: "redis", URL: "redis://h", Password: "STORE_OF_NOBODY", Timeout: "1s", Keep: "1h"},
		"not a URL of a cluster of Redis": {Kind: "redis", URL: "redis://:6379", Cluster: true, Timeout: "1s", Keep: "1h"},
		"a cluster of Redis has only 0":   {Kind: "redis", URL: "redis://h,i:1/2", Cluster: true, Timeout: "1s", Keep: "1h"},
		"lengths of time":                 {Kind: "redis", URL: "redis://h", Timeout: "0s", Keep: "1h"},
		`there is no kind of store`:       {Kind: "memcached", URL: "x://h", Timeout: "1s", Keep: "1h"},
	} {
		if _, err := Open(s); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

func TestTheCacheForgetsWhatIsNotAskedFor(t *testing.T) {
	c := newCache(2)
	put := func(k string) { c.put(exactly(k), []byte(k), []byte("row of "+k)) }
	put("a")
	put("b")
	if _, row, known := c.get(exactly("a")); !known || !bytes.Equal(row, []byte("row of a")) {
		t.Errorf("%q, %v", row, known)
	}
	put("c")
	for k, want := range map[string]bool{"a": true, "b": false, "c": true} {
		if _, _, known := c.get(exactly(k)); known != want {
			t.Errorf("%s is known: %v", k, known)
		}
	}
	if len(c.entries) != 2 {
		t.Errorf("it has %d entries", len(c.entries))
	}
}
