package examples_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tenon-ml/tenon/internal/test/postgrestest"
	"github.com/tenon-ml/tenon/internal/test/redistest"
)

// A table in a store is replaced as one in memory is: services of both versions read their
// own. A service whose store is away says which table it needs, and answers again once the
// table is there.
func TestATableInAStoreIsReplacedUnderLoad(t *testing.T) {
	redis, port := redistest.Start(t), freePort(t)
	s := writeDeliveries(t, port, fmt.Sprintf("store: serve.#Redis & {url: %q, timeout: \"20s\", password: secret: env: \"REDIS_PASSWORD\"}", redis.URL()))
	s.env = []string{"REDIS_PASSWORD=" + redistest.Password}
	s.must("apply", "--yes")
	contains(t, s.must("logs", "deployments/api/publish"), `published "v"`, "with 4 rows")
	contains(t, s.must("logs", "deployments/api/parity"), "0 differences")
	url, body := fmt.Sprintf("http://127.0.0.1:%d", port), `{"instances": [{"van": "v0", "distance": 7}, {"van": "v1", "distance": 7}]}`
	c := startClients(url+"/predict", `{"instances": [{"van": "v0", "distance": 7}]}`)
	defer c.stop()
	c.until(t, 24)
	s.replaceVans(t, c)
	c.stop()
	contains(t, get(t, url+"/metrics"), `tenon_lookup_rows_total{`, `table="v"`)

	redis.Stop()
	if status, said := post(t, url+"/predict", body); status != http.StatusServiceUnavailable || !strings.Contains(said, "the table v cannot be read now") {
		t.Errorf("without its store: %d %s", status, said)
	}
	contains(t, s.must("logs", "deployments/api"), `the table "v" cannot be read from `+redis.URL())
	redis.Again() // with nothing in it
	if status, said := post(t, url+"/predict", body); status != http.StatusServiceUnavailable {
		t.Errorf("with an empty store: %d %s", status, said)
	}
	s.must("apply", "--yes", "--rerun", "deployments/api/publish")
	for start := time.Now(); ; time.Sleep(50 * time.Millisecond) {
		status, said := post(t, url+"/predict", body)
		if status == http.StatusOK && strings.Contains(said, `"age":14`) && strings.Contains(said, `"age":23`) {
			break
		}
		if time.Since(start) > 20*time.Second {
			t.Fatalf("with the table again: %d %s", status, said)
		}
	}
}

func TestATableInPostgreSQL(t *testing.T) {
	postgres, port := postgrestest.Start(t), freePort(t)
	where := strings.Replace(postgres.Database(), ":"+postgrestest.Password, "", 1)
	s := writeDeliveries(t, port, fmt.Sprintf("store: serve.#Postgres & {url: %q, timeout: \"20s\", password: secret: env: \"PG_PASSWORD\"}", where))
	s.env = []string{"PG_PASSWORD=" + postgrestest.Password}
	s.must("apply", "--yes")
	contains(t, s.must("logs", "deployments/api/parity"), "0 differences")
	status, said := post(t, fmt.Sprintf("http://127.0.0.1:%d/predict", port), `{"instances": [{"van": "v3", "distance": 7}, {"van": "none", "distance": 7}]}`)
	if status != http.StatusOK || !strings.Contains(said, `"age":3`) || !strings.Contains(said, `"age":null`) {
		t.Errorf("%d %s", status, said)
	}
}
