"""The words of the demo grocery shop: its brands, categories, the missions that people shop on, what goes with what."""

from __future__ import annotations

from dataclasses import dataclass

# What a brand writes on its packs besides its name; text similarity can learn a diet from it.
BRANDS = {
    "Green Valley": "Organic",
    "Meadow & Mill": "Organic",
    "Plantful": "Vegan",
    "Kind Kitchen": "Vegan",
    "Daily Choice": "",
    "Pennywise": "",
    "Casa Bella": "",
    "Harbour Lane": "",
    "Maison Clair": "",
    "Sunnybrook": "",
    "Tiny Steps": "",
    "Brightly": "",
    "Pure Leaf Home": "Eco",
    "Old Oak": "",
}


@dataclass(frozen=True)
class Aisle:
    """One category: every brand sells every product, in the sizes in turn.

    weight: how often people come here without a plan.
    """

    category: str
    brands: tuple[str, ...]
    products: tuple[str, ...]
    sizes: tuple[str, ...]
    weight: int


def _aisle(category: str, brands: str, products: str, sizes: str, weight: int) -> Aisle:
    by_name = [tuple(words.split(", ")) for words in (brands, products, sizes)]
    return Aisle(category, by_name[0], by_name[1], by_name[2], weight)


AISLES = (
    _aisle(
        "Milk",
        "Green Valley, Daily Choice, Pennywise, Sunnybrook",
        "Whole Milk, Semi-Skimmed Milk, Skimmed Milk, Lactose-Free Milk, Goat Milk, Buttermilk",
        "1 l, 500 ml",
        9,
    ),
    _aisle(
        "Plant Drinks",
        "Green Valley, Plantful, Kind Kitchen, Daily Choice",
        "Oat Milk Barista, Oat Milk, Almond Milk, Soy Milk, Coconut Milk Drink, Rice Milk",
        "1 l",
        6,
    ),
    _aisle(
        "Yogurt",
        "Green Valley, Plantful, Daily Choice, Sunnybrook",
        "Greek Yogurt, Natural Yogurt, Strawberry Yogurt, Vanilla Yogurt, Cherry Yogurt, Mango Yogurt, Skyr",
        "150 g, 500 g",
        8,
    ),
    _aisle(
        "Butter & Cream",
        "Green Valley, Plantful, Daily Choice, Sunnybrook",
        "Salted Butter, Unsalted Butter, Spreadable Butter, Whipping Cream, Sour Cream",
        "250 g, 200 g",
        6,
    ),
    _aisle(
        "Eggs",
        "Green Valley, Meadow & Mill, Daily Choice",
        "Free-Range Eggs Medium, Free-Range Eggs Large, Barn Eggs Medium, Barn Eggs Large",
        "6 pack, 10 pack",
        5,
    ),
    _aisle(
        "Cheese",
        "Meadow & Mill, Kind Kitchen, Maison Clair, Daily Choice",
        "Mature Cheddar, Gouda Slices, Mozzarella, Brie, Feta, Cream Cheese, Cottage Cheese",
        "200 g, 150 g",
        7,
    ),
    _aisle(
        "Parmesan & Hard Cheese",
        "Casa Bella, Meadow & Mill, Daily Choice",
        "Grated Parmesan, Parmesan Wedge, Pecorino Romano, Grana Padano, Parmesan Shavings",
        "100 g, 200 g",
        3,
    ),
    _aisle(
        "Bread",
        "Meadow & Mill, Daily Choice, Pennywise, Old Oak",
        "White Toast Bread, Wholegrain Bread, Rye Bread, Sourdough Loaf, Bagels, Seeded Rolls",
        "500 g, 750 g",
        9,
    ),
    _aisle(
        "Pastries",
        "Maison Clair, Daily Choice, Old Oak",
        "Butter Croissants, Chocolate Croissants, Cinnamon Rolls, Blueberry Muffins, Apple Turnovers, Pancakes",
        "4 pack, 6 pack",
        4,
    ),
    _aisle(
        "Cereal",
        "Green Valley, Kind Kitchen, Daily Choice, Sunnybrook",
        "Rolled Oats, Crunchy Granola, Fruit Muesli, Corn Flakes, Chocolate Puffs, Bran Flakes",
        "500 g, 375 g",
        5,
    ),
    _aisle(
        "Jam & Spreads",
        "Green Valley, Maison Clair, Daily Choice",
        "Strawberry Jam, Apricot Jam, Raspberry Jam, Acacia Honey, Peanut Butter, Hazelnut Spread, Almond Butter",
        "340 g, 250 g",
        4,
    ),
    _aisle(
        "Coffee",
        "Green Valley, Casa Bella, Pennywise, Harbour Lane",
        "Espresso Beans, Ground Coffee, Decaf Ground Coffee, Coffee Capsules Lungo, Coffee Capsules Ristretto,"
        " Instant Coffee",
        "250 g, 500 g",
        6,
    ),
    _aisle(
        "Tea",
        "Green Valley, Harbour Lane, Daily Choice",
        "Earl Grey Tea, English Breakfast Tea, Green Tea, Peppermint Tea, Camomile Tea, Rooibos Tea",
        "20 bags, 50 bags",
        3,
    ),
    _aisle(
        "Juice",
        "Green Valley, Daily Choice, Sunnybrook, Pennywise",
        "Orange Juice, Apple Juice, Multivitamin Juice, Grapefruit Juice, Mango Smoothie, Berry Smoothie",
        "1 l, 250 ml",
        6,
    ),
    _aisle(
        "Fruit",
        "Green Valley, Daily Choice, Sunnybrook",
        "Bananas, Gala Apples, Strawberries, Blueberries, Avocados, Lemons, Seedless Grapes, Oranges",
        "1 kg, 500 g",
        12,
    ),
    _aisle(
        "Vegetables",
        "Green Valley, Daily Choice, Pennywise",
        "Vine Tomatoes, Cucumber, Carrots, Red Peppers, Onions, Garlic, Broccoli, Courgettes, Mushrooms",
        "500 g, 1 kg",
        12,
    ),
    _aisle(
        "Salad & Herbs",
        "Green Valley, Daily Choice, Casa Bella",
        "Rocket Salad, Baby Spinach, Iceberg Lettuce, Fresh Basil, Flat Parsley, Caesar Salad Kit",
        "125 g, 200 g",
        6,
    ),
    _aisle(
        "Pasta",
        "Casa Bella, Meadow & Mill, Daily Choice, Pennywise",
        "Spaghetti, Penne Rigate, Fusilli, Tagliatelle, Lasagne Sheets, Potato Gnocchi, Spinach Ravioli",
        "500 g, 1 kg",
        5,
    ),
    _aisle(
        "Pasta Sauce",
        "Casa Bella, Meadow & Mill, Plantful, Daily Choice",
        "Tomato Basil Sauce, Arrabbiata Sauce, Bolognese Sauce, Green Pesto, Red Pesto, Carbonara Sauce",
        "400 g, 190 g",
        4,
    ),
    _aisle(
        "Rice & Noodles",
        "Meadow & Mill, Harbour Lane, Daily Choice",
        "Basmati Rice, Jasmine Rice, Risotto Rice, Egg Noodles, Rice Noodles, Couscous, Quinoa",
        "500 g, 1 kg",
        4,
    ),
    _aisle(
        "Asian Cooking",
        "Harbour Lane, Kind Kitchen, Daily Choice",
        "Soy Sauce, Red Curry Paste, Green Curry Paste, Coconut Milk, Teriyaki Sauce, Sesame Oil, Sweet Chili Sauce",
        "200 ml, 400 ml",
        3,
    ),
    _aisle(
        "Mexican Cooking",
        "Old Oak, Kind Kitchen, Daily Choice",
        "Flour Tortillas, Taco Shells, Tomato Salsa, Guacamole, Kidney Beans, Black Beans, Refried Beans",
        "300 g, 400 g",
        3,
    ),
    _aisle(
        "Oils & Vinegar",
        "Casa Bella, Green Valley, Pennywise",
        "Extra Virgin Olive Oil, Sunflower Oil, Rapeseed Oil, Balsamic Vinegar, White Wine Vinegar, Garlic Oil",
        "500 ml, 750 ml",
        3,
    ),
    _aisle(
        "Poultry & Meat",
        "Meadow & Mill, Old Oak, Daily Choice",
        "Chicken Breast, Chicken Thighs, Minced Beef, Beef Steak, Pork Chops, Smoked Bacon, Turkey Slices",
        "400 g, 500 g",
        6,
    ),
    _aisle(
        "Barbecue",
        "Old Oak, Daily Choice, Pennywise",
        "Bratwurst, Beef Burgers, Marinated Spare Ribs, Chicken Skewers, Halloumi Grill Cheese, Lamb Sausages",
        "400 g, 300 g",
        3,
    ),
    _aisle(
        "Plant-Based Mains",
        "Plantful, Kind Kitchen, Green Valley",
        "Smoked Tofu, Natural Tofu, Veggie Burgers, Pea Mince, Falafel, Seitan Strips, Soy Schnitzel",
        "200 g, 250 g",
        4,
    ),
    _aisle(
        "Fish",
        "Harbour Lane, Meadow & Mill, Daily Choice",
        "Salmon Fillet, Smoked Salmon, Cod Fillet, King Prawns, Tuna Chunks, Fish Fingers",
        "250 g, 200 g",
        4,
    ),
    _aisle(
        "Sauces & Dips",
        "Old Oak, Plantful, Daily Choice",
        "Tomato Ketchup, Barbecue Sauce, Dijon Mustard, Mayonnaise, Garlic Dip, Hummus, Tzatziki",
        "300 ml, 200 ml",
        4,
    ),
    _aisle(
        "Charcoal",
        "Old Oak, Daily Choice, Pennywise",
        "Grill Charcoal, Charcoal Briquettes, Coconut Briquettes, Beech Smoking Chips",
        "3 kg, 5 kg",
        1,
    ),
    _aisle(
        "Beer",
        "Old Oak, Harbour Lane, Pennywise",
        "Pilsner, Pale Ale, Wheat Beer, Alcohol-Free Lager, Radler Lemon, India Pale Ale",
        "6 x 330 ml, 500 ml",
        4,
    ),
    _aisle(
        "Wine",
        "Maison Clair, Casa Bella, Pennywise",
        "Chianti, Pinot Grigio, Merlot, Chardonnay, Rosé, Prosecco, Sauvignon Blanc",
        "750 ml",
        4,
    ),
    _aisle(
        "Soft Drinks",
        "Brightly, Daily Choice, Pennywise",
        "Cola, Cola Zero, Orange Soda, Lemonade, Tonic Water, Ginger Ale, Iced Tea Peach",
        "1.5 l, 6 x 330 ml",
        6,
    ),
    _aisle(
        "Water",
        "Sunnybrook, Pennywise",
        "Sparkling Water, Still Water, Gently Sparkling Water, Lemon Water, Mint Water",
        "6 x 1.5 l, 750 ml",
        6,
    ),
    _aisle(
        "Crisps & Nuts",
        "Kind Kitchen, Old Oak, Daily Choice",
        "Sea Salt Crisps, Paprika Crisps, Sour Cream Crisps, Tortilla Chips, Roasted Peanuts, Salted Cashews,"
        " Trail Mix",
        "175 g, 200 g",
        6,
    ),
    _aisle(
        "Chocolate & Sweets",
        "Maison Clair, Plantful, Daily Choice, Pennywise",
        "Milk Chocolate, Dark Chocolate 70%, Hazelnut Chocolate, Wine Gums, Liquorice, Butter Cookies",
        "100 g, 200 g",
        7,
    ),
    _aisle(
        "Ice Cream",
        "Maison Clair, Plantful, Daily Choice",
        "Vanilla Ice Cream, Chocolate Ice Cream, Strawberry Sorbet, Salted Caramel Ice Cream, Mango Sorbet,"
        " Cookie Dough Ice Cream",
        "500 ml, 1 l",
        4,
    ),
    _aisle(
        "Baking",
        "Meadow & Mill, Pennywise, Daily Choice",
        "Plain Flour, Wholemeal Flour, Spelt Flour, Caster Sugar, Brown Sugar, Icing Sugar, Ground Almonds",
        "1 kg, 500 g",
        3,
    ),
    _aisle(
        "Baby Food",
        "Tiny Steps, Green Valley, Daily Choice",
        "Apple Banana Puree, Carrot Puree, Sweet Potato Puree, Baby Porridge, Follow-On Milk, Baby Rice Cakes",
        "190 g, 120 g",
        2,
    ),
    _aisle(
        "Nappies & Wipes",
        "Tiny Steps, Pure Leaf Home, Daily Choice",
        "Nappies Size 2, Nappies Size 3, Nappies Size 4, Nappies Size 5, Baby Wipes Sensitive, Baby Wipes Aloe Vera",
        "40 pack, 72 pack",
        2,
    ),
    _aisle(
        "Cleaning",
        "Brightly, Pure Leaf Home, Pennywise",
        "All-Purpose Cleaner, Glass Cleaner, Bathroom Cleaner, Kitchen Cleaner, Floor Cleaner, Dish Soap,"
        " Limescale Remover",
        "750 ml, 500 ml",
        4,
    ),
    _aisle(
        "Laundry",
        "Brightly, Pure Leaf Home, Pennywise",
        "Colour Detergent, White Detergent, Wool Detergent, Fabric Softener, Stain Remover",
        "1.3 l, 750 ml",
        3,
    ),
    _aisle(
        "Paper & Bags",
        "Brightly, Pure Leaf Home, Pennywise",
        "Toilet Paper, Kitchen Towels, Tissues, Napkins, Bin Bags",
        "8 pack, 12 pack",
        4,
    ),
)

# The categories of a mission in the order in which people tend to pick them; weight in spring and in summer.
MISSIONS: tuple[tuple[str, tuple[str, ...], int, int], ...] = (
    ("breakfast", ("Bread", "Butter & Cream", "Jam & Spreads", "Coffee", "Milk", "Juice"), 14, 12),
    ("muesli", ("Cereal", "Plant Drinks", "Yogurt", "Fruit", "Tea"), 9, 11),
    ("brunch", ("Pastries", "Eggs", "Fish", "Cheese", "Fruit", "Juice", "Coffee"), 6, 6),
    ("pasta night", ("Pasta", "Pasta Sauce", "Parmesan & Hard Cheese", "Salad & Herbs", "Wine"), 13, 9),
    ("curry", ("Rice & Noodles", "Asian Cooking", "Plant-Based Mains", "Vegetables", "Tea"), 8, 5),
    ("tacos", ("Mexican Cooking", "Poultry & Meat", "Vegetables", "Sauces & Dips", "Beer"), 7, 7),
    ("barbecue", ("Barbecue", "Sauces & Dips", "Bread", "Beer", "Charcoal", "Salad & Herbs"), 3, 14),
    ("film night", ("Crisps & Nuts", "Soft Drinks", "Chocolate & Sweets", "Ice Cream"), 9, 10),
    ("fresh cooking", ("Vegetables", "Oils & Vinegar", "Poultry & Meat", "Salad & Herbs", "Wine"), 9, 9),
    ("baking", ("Baking", "Eggs", "Butter & Cream", "Chocolate & Sweets", "Fruit"), 6, 3),
    ("baby", ("Nappies & Wipes", "Baby Food", "Laundry", "Fruit"), 6, 6),
    ("cleaning", ("Cleaning", "Laundry", "Paper & Bags", "Water"), 7, 6),
    ("thirst", ("Water", "Soft Drinks", "Juice", "Ice Cream"), 3, 8),
)
