package apikey

// Profile is a bias profile: thresholds that a key carries. Verification hands them over, and the API behind it
// applies them. A threshold is 0 to 100: up to 30 is low, up to 70 moderate, above that high.
type Profile struct {
	ID               string
	OrgID            string
	Name             string
	Description      string
	DefaultThreshold int // for what has no category of its own
	Categories       []Category
}

// Category is what a bias profile says about one kind of bias.
type Category struct {
	Name      string
	Enabled   bool
	Threshold int
	Action    CategoryAction
}

// CategoryAction is what shall happen to an answer that reaches a category's threshold.
type CategoryAction string

// The actions of a category.
const (
	Flag  CategoryAction = "flag"
	Block CategoryAction = "block"
)

// DefaultThreshold is the middle of the scale: where a profile begins unless somebody says otherwise.
const DefaultThreshold = 50

// Categories are the kinds of bias that every profile can judge; organisations may add their own.
var Categories = []string{
	"race", "gender", "age", "religion", "disability", "nationality", "sexual orientation", "socioeconomic",
}
