// Rival (d), the record in a compiled language: net/http, the receiver's own tables, one commit for all that waits.
//
// It does for one provider, written out, what tests/bench/rivals/floor.py does with KEEP=decided: the token, the HMAC,
// the JSON, the digest of the result and the row of the job are looked at; then the job's end, its dispatch and the
// callback are in one commit (synchronous=FULL), and the sender hears 200. A duplicate is kept and counted.
package main

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"database/sql"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"time"

	_ "github.com/mattn/go-sqlite3"
)

const (
	// Members that one transaction takes, and bytes that a body may have: as the receiver's.
	most    = 512
	largest = 10 << 20
	// How long a sender is kept waiting for a commit.
	patience = 1800 * time.Millisecond
	// Pages of 4 KiB after which the log is moved into the database: the 8 MiB of the receiver.
	setUp = "_journal_mode=WAL&_synchronous=FULL&_busy_timeout=5000&_txlock=immediate"
	moved = "PRAGMA wal_autocheckpoint=2048"

	find    = "SELECT state, remote_id FROM job WHERE id = ?"
	succeed = `UPDATE job SET state = 'succeeded', succeeded_at = ?1, ended_at = ?1, settled_by = 'callback',
		held_callback = ?2, held_offset = 100, held_size = ?3, held_sha256 = ?4, held_type = 'application/json',
		callbacks = 1, first_callback = ?2 WHERE id = ?5`
	forget   = "DELETE FROM due WHERE job_id = ?"
	dispatch = `INSERT INTO dispatch (job_id, handler, replay_id, state, run_at, attempt, created_at)
		VALUES (?1, 'completed', '', 'ready', ?2, 0, ?2)`
	keep = `INSERT INTO callback (id, provider, route, job_id, received_at, method, query, headers, body, verdict,
		key_id, is_first) VALUES (?, 'bench', 'callbacks', ?, ?, 'POST', x'', ?, ?, ?, 'BENCH_SECRET#1', ?)`
	count = "UPDATE job SET callbacks = callbacks + 1 WHERE id = ?"
)

var errForeign = errors.New("that is none of the benchmark's callbacks")

// taken is a callback on its way.
type taken struct {
	id, job, remote, digest string
	body, headers           []byte
	size                    int
	now                     int64
	stored                  chan error
}

// event is what a callback says.
type event struct {
	ID     string          `json:"id"`
	Status string          `json:"status"`
	Result json.RawMessage `json:"result"`
}

type server struct {
	secret, master []byte
	keyID          []byte
	number         atomic.Uint32
	waiting        chan *taken
}

func main() {
	secret, master := []byte(os.Getenv("BENCH_SECRET")), []byte(os.Getenv("RECEIVER_SECRET_KEY"))
	keyID := sha256.Sum256(append([]byte("receiver key id\x00"), master...))
	one := &server{secret: secret, master: master, keyID: keyID[:4], waiting: make(chan *taken, 20_000)}
	record, err := open(os.Getenv("DATABASE"))
	if err != nil {
		log.Fatal(err)
	}
	go record.write(one.waiting)
	http.HandleFunc("POST /callbacks/bench/{token}", one.take)
	log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Args[1], nil))
}

// take takes one callback.
func (s *server) take(answer http.ResponseWriter, request *http.Request) {
	job, ok := s.named(request.PathValue("token"))
	if !ok {
		answer.WriteHeader(http.StatusNotFound)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(answer, request.Body, largest))
	if err != nil {
		answer.WriteHeader(http.StatusBadRequest)
		return
	}
	given, err := hex.DecodeString(strings.TrimPrefix(request.Header.Get("X-Signature"), "sha256="))
	if err != nil || !hmac.Equal(given, mac(s.secret, body)) {
		answer.WriteHeader(http.StatusUnauthorized)
		return
	}
	var said event
	if err := json.Unmarshal(body, &said); err != nil || said.Status != "done" {
		answer.WriteHeader(http.StatusBadRequest)
		return
	}
	headers, _ := json.Marshal(request.Header)
	digest, now := sha256.Sum256(said.Result), time.Now()
	one := &taken{
		id:  fmt.Sprintf("cb_%024x%08x", now.UnixNano(), s.number.Add(1)),
		job: job, remote: said.ID, digest: hex.EncodeToString(digest[:]),
		body: body, headers: headers, size: len(said.Result), now: now.UnixMilli(),
		stored: make(chan error, 1),
	}
	s.waiting <- one
	late := time.NewTimer(patience)
	defer late.Stop()
	select {
	case err = <-one.stored:
	case <-late.C:
		err = errors.New("too late")
	}
	if err != nil {
		log.Print(err)
		answer.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	answer.WriteHeader(http.StatusOK)
}

// named is the job that a genuine token names.
func (s *server) named(token string) (string, bool) {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(token)
	if err != nil || len(raw) != 37 || !hmac.Equal(raw[1:5], s.keyID) {
		return "", false
	}
	expected := mac(s.master, append([]byte("receiver callback token\x00bench\x00"), raw[5:21]...))
	return "job_" + hex.EncodeToString(raw[5:21]), hmac.Equal(raw[21:], expected[:16])
}

func mac(key, text []byte) []byte {
	digest := hmac.New(sha256.New, key)
	digest.Write(text)
	return digest.Sum(nil)
}

// record is the one connection that writes, with its statements.
type record struct {
	connection                                   *sql.Conn
	find, succeed, forget, dispatch, keep, again *sql.Stmt
}

func open(path string) (*record, error) {
	ctx := context.Background()
	database, err := sql.Open("sqlite3", "file:"+path+"?"+setUp)
	if err != nil {
		return nil, err
	}
	connection, err := database.Conn(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := connection.ExecContext(ctx, moved); err != nil {
		return nil, err
	}
	one := &record{connection: connection}
	for text, place := range map[string]**sql.Stmt{
		find: &one.find, succeed: &one.succeed, forget: &one.forget,
		dispatch: &one.dispatch, keep: &one.keep, count: &one.again,
	} {
		if *place, err = connection.PrepareContext(ctx, text); err != nil {
			return nil, err
		}
	}
	return one, nil
}

// write commits whatever waits, again and again.
func (r *record) write(waiting <-chan *taken) {
	batch := make([]*taken, 0, most)
	for first := range waiting {
		batch = append(batch[:0], first)
	gathering:
		for len(batch) < most {
			select {
			case one := <-waiting:
				batch = append(batch, one)
			default:
				break gathering
			}
		}
		err := r.commit(batch)
		for _, one := range batch {
			one.stored <- err
		}
	}
}

func (r *record) commit(batch []*taken) error {
	tx, err := r.connection.BeginTx(context.Background(), nil)
	if err != nil {
		return err
	}
	for _, one := range batch {
		if err := r.store(one); err != nil {
			return errors.Join(err, tx.Rollback())
		}
	}
	return tx.Commit()
}

// store does what a callback does to its job.
func (r *record) store(one *taken) error {
	var state, remote string
	if err := r.find.QueryRow(one.job).Scan(&state, &remote); err != nil {
		return err
	}
	switch {
	case remote != one.remote:
		return errForeign
	case state == "succeeded":
		_, first := r.again.Exec(one.job)
		_, second := r.keep.Exec(one.id, one.job, one.now, one.headers, one.body, "duplicate", 0)
		return errors.Join(first, second)
	case state != "submitted":
		return errForeign
	}
	_, first := r.succeed.Exec(one.now, one.id, one.size, one.digest, one.job)
	_, second := r.forget.Exec(one.job)
	_, third := r.dispatch.Exec(one.job, one.now)
	_, fourth := r.keep.Exec(one.id, one.job, one.now, one.headers, one.body, "accepted", 1)
	return errors.Join(first, second, third, fourth)
}
