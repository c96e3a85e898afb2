package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// client URL BODY STOP sends a request all the time, from several connections, until there is a
// file STOP. Then it prints how many failed, and which version answered how many.
func client() {
	url, body, stop := os.Args[1], os.Args[2], os.Args[3]
	var mu sync.Mutex
	failed, answered, faults := 0, map[string]int{}, map[string]bool{}
	var wg sync.WaitGroup
	c := &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 8}}
	for range 8 {
		wg.Go(func() {
			for {
				if _, err := os.Stat(stop); err == nil {
					return
				}
				r, err := c.Post(url, "application/json", strings.NewReader(body))
				version := ""
				if err == nil {
					version = r.Header.Get("Tenon-Version")
					_, err = io.Copy(io.Discard, r.Body)
					err = errors.Join(err, r.Body.Close())
					if r.StatusCode != http.StatusOK {
						err = errors.Join(err, errors.New(r.Status))
					}
				}
				mu.Lock()
				if err != nil {
					failed++
					faults[err.Error()] = true
				} else {
					answered[version]++
				}
				mu.Unlock()
				time.Sleep(2 * time.Millisecond)
			}
		})
	}
	wg.Wait()
	fmt.Printf("failed %d\n", failed)
	for _, fault := range slices.Sorted(maps.Keys(faults)) {
		fmt.Println("fault:", fault)
	}
	for _, version := range slices.Sorted(maps.Keys(answered)) {
		fmt.Printf("answered by %s: %d\n", version, answered[version])
	}
}
