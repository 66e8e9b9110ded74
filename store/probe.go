package store

import "context"

// CheckURL says what is wrong with a database's address, without connecting; the error never repeats its password.
func CheckURL(databaseURL string) error {
	db, err := connect(databaseURL, patience, 1)
	if err != nil {
		return err
	}
	return db.Close()
}

// Probe says whether a database answers at the address, within the store's time limit; ErrUnavailable when it does not.
func Probe(ctx context.Context, databaseURL string) error {
	db, err := connect(databaseURL, patience, 1)
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	return tidy(db.PingContext(ctx))
}
