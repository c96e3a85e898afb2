package stores

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/tenon-ml/tenon/internal/test/redistest"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
)

// clusterSpec names two servers of a cluster.
func clusterSpec(t *testing.T, all []*redistest.Server) Spec {
	s := redisSpec(t, all[0])
	s.URL, s.Cluster = fmt.Sprintf("redis://127.0.0.1:%d,127.0.0.1:%d", all[1].Port, all[0].Port), true
	return s
}

// The slots are those of Redis, also of keys with braces.
func TestSlots(t *testing.T) {
	server := redistest.StartCluster(t, 1)[0]
	for _, key := range []string{"", "123456789", "tenon:v:7", "a{b}c", "a{}c", "a{b", "{x}{y}", "\x00\xff"} {
		if want, err := redis.Int(server.Do("CLUSTER", "KEYSLOT", key), nil); err != nil || slotOf(key) != want {
			t.Errorf("%q is in slot %d, want %d, %v", key, slotOf(key), want, err)
		}
	}
}

// entries are rows of a table with many parts, which all servers have some of.
func entries(n int) (all []entry, wants []rowsql.Want) {
	for i := range n {
		e := entry{fmt.Sprintf("key %d", i), fmt.Sprintf("row %d", i)}
		all, wants = append(all, e), append(wants, exactly(e.key))
	}
	return all, wants
}

func holds(t *testing.T, s Store, version string, want []entry, wants []rowsql.Want) {
	t.Helper()
	for i, got := range get(t, s, version, wants...) {
		if got != want[i] {
			t.Fatalf("%s: got %q, want %q", version, got, want[i])
		}
	}
}

// A slot moves from one server to another while a service reads and writes.
func TestASlotMoves(t *testing.T) {
	servers := redistest.StartCluster(t, 3)
	store := open(t, clusterSpec(t, servers)).(*redisStore)
	all, wants := entries(20_000)
	write(t, store, "a", false, all...)
	holds(t, store, "a", all, wants)
	for i, s := range servers {
		if n, _ := redis.Int(s.Do("DBSIZE"), nil); n < 3 {
			t.Errorf("server %d has %d parts", i, n)
		}
	}
	key := store.bucket("a", 0)
	slot := slotOf(key)
	cluster := store.nodes.(*cluster)
	id := map[*redistest.Server]string{}
	var from, to *redistest.Server
	for _, s := range servers {
		id[s], _ = redis.String(s.Do("CLUSTER", "MYID"), nil)
		if strings.HasSuffix(cluster.at(slot), fmt.Sprint(":", s.Port)) {
			from = s
		} else {
			to = s
		}
	}
	to.Do("CLUSTER", "SETSLOT", slot, "IMPORTING", id[from])
	from.Do("CLUSTER", "SETSLOT", slot, "MIGRATING", id[to])
	holds(t, store, "a", all, wants) // it is still there
	from.Do("MIGRATE", "127.0.0.1", to.Port, key, 0, 5000, "AUTH", redistest.Password)
	holds(t, store, "a", all, wants) // and now it is asked for where it goes
	for _, s := range []*redistest.Server{to, from} {
		s.Do("CLUSTER", "SETSLOT", slot, "NODE", id[to])
	}
	holds(t, store, "a", all, wants)
	if at := cluster.at(slot); !strings.HasSuffix(at, fmt.Sprint(":", to.Port)) {
		t.Errorf("slot %d is asked for at %s, and is at %d", slot, at, to.Port)
	}
	write(t, store, "b", true, entry{"k12345678", "v"})
	if got := get(t, store, "b", nearest("k", "k9", 9, true)); got[0].row != "v" {
		t.Errorf("got %q", got)
	}
}

// Servers that are started again may have other addresses. The former ones are not asked any more.
func TestServersOfAClusterHaveOtherAddresses(t *testing.T) {
	x, err := openCluster(common{spec: Spec{URL: "redis://seed"}, timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer x.close()
	for n := range 3 {
		host := fmt.Sprintf("10.0.0.%d", n)
		servers := []any{[]any{int64(0), int64(slots - 1), []any{[]byte(host), int64(6379), []byte("an id")}}}
		if err := x.know(servers, "seed:6379"); err != nil {
			t.Fatal(err)
		}
		x.node("seed:6379")
		x.node(x.at(0))
	}
	if got := slices.Sorted(maps.Keys(x.nodes)); !slices.Equal(got, []string{"10.0.0.2:6379", "seed:6379"}) {
		t.Errorf("it asks %v", got)
	}
}

// Without one of its servers, a cluster has lost a part of the tables: that is an error within the
// timeout, and not a row that is not there.
func TestAServerOfAClusterIsAway(t *testing.T) {
	servers := redistest.StartCluster(t, 3)
	store := open(t, clusterSpec(t, servers))
	all, wants := entries(20_000)
	write(t, store, "a", false, all...)
	info, err := store.Use(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	servers[1].Stop() // which the URL names first
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	start := time.Now()
	err = store.Get(ctx, "a", info, wants, func(_ int, key, _ []byte) error {
		if key == nil {
			t.Error("a row is taken for one that is not there")
		}
		return nil
	})
	if err == nil || time.Since(start) > 4*time.Second {
		t.Errorf("%v after %s", err, time.Since(start))
	}
}

// What is declared has to be what is there.
func TestAClusterThatIsNone(t *testing.T) {
	alone, servers := redisSpec(t, redistest.Start(t)), redistest.StartCluster(t, 3)
	alone.Cluster = true
	node := clusterSpec(t, servers)
	node.URL, node.Cluster = servers[0].URL(), false
	for want, s := range map[string]Spec{"it is not a node of a cluster: remove cluster: true": alone, "it is a node of a cluster: declare cluster: true": node} {
		store := open(t, s)
		var err error
		for i := 0; i < 20 && (err == nil || err == ErrNone); i++ { // some keys are at that node
			_, err = store.Use(t.Context(), fmt.Sprint("v", i))
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
