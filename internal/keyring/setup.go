package keyring

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/internal/audit"
	"github.com/moonlatch/moonlatch/internal/input"
	"github.com/moonlatch/moonlatch/store"
)

// setupLinkAge is how long a one-time link works; a restart prints a new one.
const setupLinkAge = 24 * time.Hour

// SetupToken makes a one-time token with which the first owner sets up the organisation; "" when there is an
// organisation already.
func (r *Keyring) SetupToken(ctx context.Context) (string, error) {
	done, err := r.store.IsSetUp(ctx)
	if err != nil || done {
		return "", err
	}
	token := rand.Text() // 130 bits
	return token, r.store.InsertSetupLink(ctx, sha256.Sum256([]byte(token)), r.store.Now().Add(setupLinkAge))
}

// CheckSetupToken returns ErrSetUp for a token that does not work any more.
func (r *Keyring) CheckSetupToken(ctx context.Context, token string) error {
	works, err := r.store.HasSetupLink(ctx, sha256.Sum256([]byte(token)))
	if err == nil && !works {
		return ErrSetUp
	}
	return err
}

// SetUpDraft is the first owner and their organisation, as typed.
type SetUpDraft struct {
	Organisation, Name, Email, Password string
}

// SetUp makes the organisation and its first owner, uses up the token, and signs the owner in. Errors:
// input.Problems by field (organisation, name, email, password), ErrSetUp.
func (r *Keyring) SetUp(ctx context.Context, from Visitor, token string, draft SetUpDraft) (Session, error) {
	if err := r.CheckSetupToken(ctx, token); err != nil { // before an expensive hash is computed for anybody
		return Session{}, err
	}
	problems := input.Problems{}
	owner := account.Person{ID: uuid.Must(uuid.NewV7()).String(), Role: account.Owner}
	organisation, err := readLabel(draft.Organisation, "Enter the organisation’s name.")
	problems.Add("organisation", err)
	owner.Name, err = readLabel(draft.Name, "Enter your name.")
	problems.Add("name", err)
	owner.Email, err = readEmail(draft.Email)
	problems.Add("email", err)
	problems.Add("password", checkPassword(draft.Password, owner.Email, organisation, owner.Name))
	if err := problems.Err(); err != nil {
		return Session{}, err
	}
	hash, err := r.passwords.hash(ctx, draft.Password)
	if err != nil {
		return Session{}, err
	}
	actor := account.Actor{OrgID: uuid.Must(uuid.NewV7()).String(), MemberID: owner.ID, Email: owner.Email, Name: owner.Name, Role: account.Operator,
		Address: from.Address, UserAgent: from.UserAgent}
	err = r.store.Mutate(ctx, actor, account.SetUp, func(tx *store.Tx) ([]audit.Change, error) {
		if err := tx.UseSetupLink(sha256.Sum256([]byte(token))); err != nil {
			return nil, err
		}
		changes, err := insertOrganisation(tx, organisation)
		if err != nil {
			return nil, err
		}
		if owner, err = tx.InsertMember(owner, hash); err != nil {
			return nil, err
		}
		return append(changes, memberChange(owner)), nil
	})
	if err != nil {
		return Session{}, err
	}
	return r.beginSession(ctx, from, store.Credentials{Person: owner, PasswordHash: hash}, store.BrowserSession)
}

// readLabel reads a name of a person or an organisation: one line of 1 to 100 characters.
func readLabel(text, whenEmpty string) (string, error) {
	label, err := readLine(text)
	switch {
	case err != nil:
		return "", err
	case label == "":
		return "", input.Sentence(whenEmpty)
	case len([]rune(label)) > 100:
		return "", input.Sentence("Use at most 100 characters.")
	}
	return label, nil
}

func insertOrganisation(tx *store.Tx, name string) ([]audit.Change, error) {
	err := tx.InsertOrganisation(name, audit.Genesis)
	subject := audit.Subject{Kind: "organisation", ID: tx.Actor().OrgID, Name: name}
	return []audit.Change{{Subject: subject, After: audit.Facts{"name": name}}}, err
}

func memberChange(p account.Person) audit.Change {
	return audit.Change{
		Subject: memberSubject(p),
		After:   audit.Facts{"email": p.Email, "name": p.Name, "role": p.Role, "status": p.Status},
	}
}

// Operator is whoever has a shell on the server, acting in one organisation.
func Operator(orgID string) account.Actor {
	return account.Actor{OrgID: orgID, Email: audit.ByOperator, Role: account.Operator}
}

// MemberDraft is a member as the operator asks for one.
type MemberDraft struct {
	Organisation, Email, Name, Role, Password string
	NewOrganisation                           bool // it is to be made; else it exists, unless there is none at all
	FirstOrganisation                         bool // it is to be made if there is none at all, else ErrSetUp
}

// CreateMember makes a member, and the organisation with them if that is asked for. It is the operator's. Errors:
// input.Problems (organisation, name, email, role, password), ErrTaken when the address has an account already, ErrSetUp when
// FirstOrganisation asks for the first one and there is one.
func (r *Keyring) CreateMember(ctx context.Context, draft MemberDraft) (account.Person, error) {
	problems := input.Problems{}
	organisation, err := readLabel(draft.Organisation, "Name the organisation.")
	problems.Add("organisation", err)
	var person account.Person
	if draft.Name != "" {
		person.Name, err = readLabel(draft.Name, "Enter a name.")
		problems.Add("name", err)
	}
	person.Email, err = readEmail(draft.Email)
	problems.Add("email", err)
	person.Role, err = ReadRole(draft.Role)
	problems.Add("role", err)
	problems.Add("password", checkPassword(draft.Password, person.Email, organisation, person.Name))
	if err := problems.Err(); err != nil {
		return account.Person{}, err
	}
	var existing store.Organisation
	if !draft.FirstOrganisation {
		if existing, err = r.organisationFor(ctx, organisation, draft.NewOrganisation); err != nil {
			return account.Person{}, err
		}
	}
	hash, err := r.passwords.hash(ctx, draft.Password)
	if err != nil {
		return account.Person{}, err
	}
	created, err := r.insertMemberIn(ctx, existing, draft, organisation, person, hash)
	if !errors.Is(err, ErrSetUp) || draft.FirstOrganisation {
		return created, err
	}
	if existing, err = r.organisationFor(ctx, organisation, false); err != nil { // another one was the first meanwhile
		return account.Person{}, err
	}
	return r.insertMemberIn(ctx, existing, draft, organisation, person, hash)
}

// insertMemberIn creates a member of an organisation, and the organisation when it has no id. ErrSetUp when that was to be the
// first one and another is.
func (r *Keyring) insertMemberIn(ctx context.Context, existing store.Organisation, draft MemberDraft, organisation string, person account.Person, hash string) (account.Person, error) {
	isNew := existing.ID == ""
	action := account.CreateMember
	if isNew {
		if person.Role != account.Owner {
			return account.Person{}, input.Problems{"role": "The first member of a new organisation is its owner."}
		}
		existing.ID, action = uuid.Must(uuid.NewV7()).String(), account.SetUp
	}
	err := r.store.Mutate(ctx, Operator(existing.ID), action, func(tx *store.Tx) (changes []audit.Change, err error) {
		if isNew && !draft.NewOrganisation {
			if err := tx.RequireNoOrganisation(); err != nil {
				return nil, err
			}
		}
		if isNew {
			if changes, err = insertOrganisation(tx, organisation); errors.Is(err, ErrTaken) {
				err = alreadyExists(organisation)
			}
			if err != nil {
				return nil, err
			}
		}
		if person, err = tx.InsertMember(person, hash); err != nil {
			return nil, err
		}
		void, err := withdrawOwn(tx, person)
		return append(append(changes, memberChange(person)), void...), err
	})
	return person, err
}

// organisationFor returns the organisation that a member is to be made in, without an id when it is to be made too. No
// organisation is made by a misspelt name: beside others, a new one has to be asked for.
func (r *Keyring) organisationFor(ctx context.Context, name string, asNew bool) (store.Organisation, error) {
	found, err := r.OrganisationCalled(ctx, name)
	var unknown *UnknownOrganisationError
	switch {
	case err == nil && asNew:
		return found, alreadyExists(found.Name)
	case !errors.As(err, &unknown):
		return found, err
	case asNew || len(unknown.Others) == 0:
		return store.Organisation{}, nil
	}
	return found, input.Problems{"organisation": unknown.Error() + " To create it, add --new-organisation."}
}

func alreadyExists(organisation string) error {
	return input.Problems{"organisation": fmt.Sprintf("The organisation “%s” exists already.", organisation)}
}

// mostNamed is how many organisations an error names.
const mostNamed = 20

// UnknownOrganisationError says that no organisation has a name, and which names there are.
type UnknownOrganisationError struct {
	Name   string
	Others []string
}

func (e *UnknownOrganisationError) Error() string {
	said := fmt.Sprintf("There is no organisation “%s”.", e.Name)
	if len(e.Others) == 0 {
		return said
	}
	var names []string
	for _, other := range e.Others[:min(len(e.Others), mostNamed)] {
		names = append(names, "“"+other+"”")
	}
	if more := len(e.Others) - len(names); more > 0 {
		names = append(names, fmt.Sprintf("and %d more", more))
	}
	return said + " There is " + strings.Join(names, ", ") + "."
}

// Is makes it an ErrNotFound.
func (e *UnknownOrganisationError) Is(target error) bool { return target == ErrNotFound }

// OrganisationCalled finds an organisation for the operator's commands, whatever the case of its name; else an
// *UnknownOrganisationError.
func (r *Keyring) OrganisationCalled(ctx context.Context, name string) (store.Organisation, error) {
	found, err := r.store.OrganisationByName(ctx, name)
	if !errors.Is(err, ErrNotFound) {
		return found, err
	}
	all, err := r.store.Organisations(ctx)
	if err != nil {
		return found, err
	}
	unknown := &UnknownOrganisationError{Name: name}
	for _, o := range all {
		unknown.Others = append(unknown.Others, o.Name)
	}
	return found, unknown
}

// SetPassword gives a member a new password, ends their sessions and lifts every limit of attempts at their account. It is
// the operator's, for people who have lost theirs.
// Errors: input.Problems (password), ErrNotFound.
func (r *Keyring) SetPassword(ctx context.Context, email, password string) (account.Person, error) {
	email, err := input.Email(email)
	if err != nil {
		return account.Person{}, input.Problems{"email": err.Error()}
	}
	member, err := r.store.CredentialsByEmail(ctx, email)
	if err != nil {
		return account.Person{}, err
	}
	membership, err := r.store.Membership(ctx, member.OrgID, member.ID)
	if err != nil {
		return account.Person{}, err
	}
	if err := checkPassword(password, email, member.Name, membership.Organisation); err != nil {
		return account.Person{}, input.Problems{"password": err.Error()}
	}
	hash, err := r.passwords.hash(ctx, password)
	if err != nil {
		return account.Person{}, err
	}
	err = r.store.Mutate(ctx, Operator(member.OrgID), account.ResetPassword, func(tx *store.Tx) ([]audit.Change, error) {
		if err := tx.SetPassword(member.ID, hash); err != nil {
			return nil, err
		}
		changes, err := endAllSessions(tx, member.ID, member.Email)
		return append(changes, audit.Change{Subject: memberSubject(member.Person), After: audit.Facts{"password": "set anew"}}), err
	})
	if err != nil {
		return account.Person{}, err
	}
	return member.Person, r.store.ForgetAttemptsAt(ctx, accountSubject(member.Email), confirmSubject(member.ID), signInsSubject(member.ID))
}

// MemberByEmail finds a member for the operator's commands.
func (r *Keyring) MemberByEmail(ctx context.Context, organisation, email string) (account.Person, error) {
	email, err := input.Email(email)
	if err != nil {
		return account.Person{}, err
	}
	org, err := r.OrganisationCalled(ctx, organisation)
	if err != nil {
		return account.Person{}, err
	}
	member, err := r.store.CredentialsByEmail(ctx, email)
	if err == nil && member.OrgID != org.ID {
		err = ErrNotFound
	}
	if err != nil {
		return account.Person{}, fmt.Errorf("the member %s of %q: %w", email, organisation, err)
	}
	return member.Person, nil
}
